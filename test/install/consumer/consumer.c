/* The smallest user of an installed KeyMesh. It has functions of its own whose names wolfSSL uses
 * too: linked statically, they must not get mixed up. */
#include <stdio.h>
#include <string.h>

#include <keymesh/keymesh.h>

int SendAlert(void);
int GetLength(void);

int SendAlert(void) {
  return 1;
}

int GetLength(void) {
  return 2;
}

int main(void) {
  if (strcmp(km_version(), KM_VERSION) != 0) {
    (void)fprintf(stderr, "header %s, library %s\n", KM_VERSION, km_version());
    return 1;
  }
  (void)printf("%s with %s\n", km_version(), km_version_details());
  return SendAlert() + GetLength() == 3 ? 0 : 1;
}
