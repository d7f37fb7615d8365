/* What the process used, from the operating system. */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "cmd/node/perf.h"

static uint64_t resident_bytes(void) {
#ifdef __GLIBC__
  (void)malloc_trim(0); /* what was freed is not held */
#endif
  char line[128] = "";
  FILE *file = fopen("/proc/self/statm", "r");
  if (file != NULL) {
    if (fgets(line, sizeof line, file) == NULL) {
      line[0] = '\0';
    }
    (void)fclose(file);
  }
  const char *second = strchr(line, ' '); /* size, resident, ... in pages */
  return second == NULL ? 0 : strtoull(second, NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE);
}

perf_usage perf_usage_now(void) {
  struct rusage r;
  perf_usage usage = {.resident = resident_bytes()};
  if (getrusage(RUSAGE_SELF, &r) == 0) {
    usage.cpu_ns = (uint64_t)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) * 1000000000u +
                   (uint64_t)(r.ru_utime.tv_usec + r.ru_stime.tv_usec) * 1000u;
  }
  return usage;
}

uint64_t perf_now_ns(void) {
  struct timespec t;
  (void)clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}
