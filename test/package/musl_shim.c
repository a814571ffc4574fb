// What glibc's libstdc++ and libgcc want that musl does not have, as far as Bun comes in our tests. On
// Alpine, Bun has Alpine's.
#include <locale.h>
#include <stddef.h>
#include <sys/auxv.h>
#include <sys/random.h>
#include <time.h>

char __libc_single_threaded = 0;
struct {
  unsigned vendor, type, subtype, features[4];
} __cpu_model;

int __cpu_indicator_init(void) {
  return 0;
}

int _dl_find_object(void* address, void* result) {
  (void)address, (void)result;
  return -1;
}

size_t __strftime_l(char* text, size_t size, const char* format, const struct tm* time, locale_t locale) {
  return strftime_l(text, size, format, time, locale);
}

unsigned arc4random(void) {
  unsigned bits = 0;
  getrandom(&bits, sizeof bits, 0);
  return bits;
}

int __cxa_thread_atexit_impl(void (*function)(void*), void* object, void* library) {
  (void)function, (void)object, (void)library;
  return 0;
}

unsigned long __getauxval(unsigned long type) {
  return getauxval(type);
}
