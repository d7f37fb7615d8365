/* Stands in for libFuzzer where there is none: feeds every file of the given folders (or the given
 * files) to the target once, so that each corpus is also a regression test under any compiler. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* A corpus file beyond this is a mistake of whoever added it. */
#define INPUT_LIMIT ((size_t)1 << 20)

static unsigned inputs_run;

static int replay_file(const char *path) {
  FILE *file = fopen(path, "rb");
  if (file == NULL) {
    perror(path);
    return -1;
  }
  uint8_t *buf = malloc(INPUT_LIMIT);
  size_t len = buf != NULL ? fread(buf, 1, INPUT_LIMIT, file) : 0;
  int failed = buf == NULL || ferror(file) || !feof(file);
  (void)fclose(file); /* only read from */
  if (failed) {
    (void)fprintf(stderr, "%s: cannot be read, or is larger than 1 MiB\n", path);
    free(buf);
    return -1;
  }
  /* An allocation of the exact size, so that a sanitizer sees the first byte read beyond it. */
  uint8_t *exact = malloc(len > 0 ? len : 1);
  if (exact == NULL) {
    free(buf);
    return -1;
  }
  memcpy(exact, buf, len);
  free(buf);
  (void)LLVMFuzzerTestOneInput(exact, len); /* libFuzzer demands 0, there is nothing to learn */
  free(exact);
  inputs_run++;
  return 0;
}

static int replay_folder(const char *path) {
  DIR *dir = opendir(path);
  if (dir == NULL) {
    perror(path);
    return -1;
  }
  int status = 0;
  const struct dirent *entry;
  while (status == 0 && (entry = readdir(dir)) != NULL) {
    if (entry->d_name[0] == '.') {
      continue;
    }
    char name[4096];
    int len = snprintf(name, sizeof name, "%s/%s", path, entry->d_name);
    status = len > 0 && (size_t)len < sizeof name ? replay_file(name) : -1;
  }
  (void)closedir(dir); /* only read from */
  return status;
}

int main(int argc, char **argv) {
  for (int i = 1; i < argc; i++) {
    struct stat info;
    if (stat(argv[i], &info) != 0) {
      perror(argv[i]);
      return 1;
    }
    int status = S_ISDIR(info.st_mode) ? replay_folder(argv[i]) : replay_file(argv[i]);
    if (status != 0) {
      return 1;
    }
  }
  if (inputs_run == 0) {
    (void)fprintf(stderr, "no input was run: an empty corpus proves nothing\n");
    return 1;
  }
  (void)printf("%u inputs\n", inputs_run);
  return 0;
}
