/* A few nodes with real stores, synchronized by chance: who writes when, whose wall clock is wrong,
 * which bytes arrive, who crashes, all follow from one seed. */
#ifndef KM_TEST_STORE_SIM_MESH_H
#define KM_TEST_STORE_SIM_MESH_H

#include <stdbool.h>
#include <stdint.h>

#define SIM_NODES_MAX 6

typedef struct sim_mesh sim_mesh;

/* Opens the nodes: in memory, or as files in the directory, where a crash leaves what a killed
 * process would leave. They serve any number of runs, each with a share of its own. */
sim_mesh *sim_mesh_new(const char *dir);
void sim_mesh_free(sim_mesh *m);

/* One schedule. NULL: all stores converged and nothing acknowledged was lost; else what is wrong,
 * valid until the next call. */
const char *sim_mesh_run(sim_mesh *m, uint64_t seed);

/* What all runs came to, to see that they try what they should. */
typedef struct sim_totals {
  uint64_t writes, deletes, batches, undone, syncs, cuts, pushes, crashes, collected, future;
} sim_totals;
const sim_totals *sim_mesh_totals(const sim_mesh *m);

#endif /* KM_TEST_STORE_SIM_MESH_H */
