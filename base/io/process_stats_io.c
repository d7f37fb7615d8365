/* What Linux says about this process in /proc; elsewhere what POSIX knows. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/io/metrics_page_io.h"

/* The text of a small file, "" when there is none. */
static const char *read_text(char *buf, size_t cap, const char *path) {
  FILE *file = fopen(path, "re");
  size_t len = file == NULL ? 0 : fread(buf, 1, cap - 1, file);
  if (file != NULL) {
    (void)fclose(file); /* was only read */
  }
  buf[len] = '\0';
  return buf;
}

/* /proc/self/statm: pages in all, and resident. */
static void read_memory(km_process_stats *ret) {
  char text[256], *end;
  const char *at = read_text(text, sizeof text, "/proc/self/statm");
  int64_t page = sysconf(_SC_PAGESIZE);
  int64_t total = strtoll(at, &end, 10);
  if (end > at && *end == ' ') {
    ret->virtual_bytes = total * page;
    ret->resident_bytes = strtoll(end, NULL, 10) * page;
  }
}

static void count_fds(km_process_stats *ret) {
  DIR *dir = opendir("/proc/self/fd");
  if (dir == NULL) {
    return;
  }
  int64_t count = -1; /* the one that looks */
  for (const struct dirent *entry; (entry = readdir(dir)) != NULL;) {
    count += entry->d_name[0] != '.';
  }
  (void)closedir(dir);
  ret->open_fds = count;
}

/* Field 22 of /proc/self/stat: ticks after boot. The name in field 2 may have blanks and brackets
 * in it, so counting begins behind the last bracket, with field 3. */
static void read_start(km_process_stats *ret) {
  char text[1024];
  struct timespec up, now;
  const char *at = strrchr(read_text(text, sizeof text, "/proc/self/stat"), ')');
  for (int field = 2; at != NULL && field < 22; field++) {
    at = strchr(at + 1, ' ');
  }
  if (at != NULL && clock_gettime(CLOCK_BOOTTIME, &up) == 0 &&
      clock_gettime(CLOCK_REALTIME, &now) == 0) {
    double ticks = (double)strtoull(at, NULL, 10);
    double age = (double)up.tv_sec - ticks / (double)sysconf(_SC_CLK_TCK);
    ret->start_time = (double)now.tv_sec - age;
  }
}

static double seconds(const struct timeval *tv) {
  return (double)tv->tv_sec + (double)tv->tv_usec / 1e6;
}

void km_process_stats_read(km_process_stats *ret) {
  struct rusage usage;
  struct rlimit limit;
  *ret = (km_process_stats){-1, -1, -1, -1, -1, -1};
  read_memory(ret);
  count_fds(ret);
  read_start(ret);
  if (getrusage(RUSAGE_SELF, &usage) == 0) {
    ret->cpu_seconds = seconds(&usage.ru_utime) + seconds(&usage.ru_stime);
  }
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY) {
    ret->max_fds = (int64_t)limit.rlim_cur;
  }
}
