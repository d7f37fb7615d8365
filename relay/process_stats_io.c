/* What Linux says about this process in /proc; elsewhere what POSIX knows. */
#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "relay/metrics_io.h"

static void read_memory(km_process_stats *ret) {
  FILE *file = fopen("/proc/self/statm", "re");
  int64_t total, resident;
  if (file == NULL) {
    return;
  }
  if (fscanf(file, "%" SCNd64 " %" SCNd64, &total, &resident) == 2) {
    int64_t page = sysconf(_SC_PAGESIZE);
    ret->virtual_bytes = total * page;
    ret->resident_bytes = resident * page;
  }
  (void)fclose(file); /* was only read */
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
 * in it, so counting begins behind the last bracket. */
static void read_start(km_process_stats *ret) {
  FILE *file = fopen("/proc/self/stat", "re");
  unsigned long long ticks;
  struct timespec up, now;
  if (file == NULL) {
    return;
  }
  char text[1024];
  size_t len = fread(text, 1, sizeof text - 1, file);
  (void)fclose(file); /* was only read */
  text[len] = '\0';
  const char *at = NULL;
  for (const char *p = text; *p != '\0'; p++) {
    at = *p == ')' ? p + 1 : at;
  }
  if (at != NULL &&
      sscanf(at,
             " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu",
             &ticks) == 1 &&
      clock_gettime(CLOCK_BOOTTIME, &up) == 0 && clock_gettime(CLOCK_REALTIME, &now) == 0) {
    double age = (double)up.tv_sec - (double)ticks / (double)sysconf(_SC_CLK_TCK);
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
