/* A wall clock that can be moved: preloaded into a process, it adds what a file says to the time of day.
 *
 * The file named by CHAOS_CLOCK_FILE holds nanoseconds, as a 64-bit integer, and is mapped: a jump needs no
 * call. Monotonic clocks are left alone, as they are when a machine's clock is set.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const int64_t SECOND_NS = 1000000000;
static volatile int64_t *jump_ns;

__attribute__((constructor)) static void map_file(void) {
  const char *path = getenv("CHAOS_CLOCK_FILE");
  int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
  if (file < 0) return;
  void *mapped = mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, file, 0);
  if (mapped != MAP_FAILED) jump_ns = mapped;
  close(file);
}

int clock_gettime(clockid_t clock, struct timespec *told) {
  int result = (int)syscall(SYS_clock_gettime, clock, told);
  if (result == 0 && jump_ns && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
    int64_t moved = told->tv_sec * SECOND_NS + told->tv_nsec + *jump_ns;
    told->tv_sec = moved / SECOND_NS;
    told->tv_nsec = moved % SECOND_NS;
  }
  return result;
}

int gettimeofday(struct timeval *restrict told, void *restrict zone) {
  (void)zone;
  struct timespec now;
  int result = clock_gettime(CLOCK_REALTIME, &now);
  told->tv_sec = now.tv_sec;
  told->tv_usec = now.tv_nsec / 1000;
  return result;
}

time_t time(time_t *told) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (told) *told = now.tv_sec;
  return now.tv_sec;
}
