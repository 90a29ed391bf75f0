/* How this suite is built: what takes twenty times as long is done fewer times there. */
#ifndef AMBIT_TESTS_BUILD_H
#define AMBIT_TESTS_BUILD_H

#if defined(__SANITIZE_THREAD__)
#define BUILD_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define BUILD_TSAN 1
#endif
#endif
#ifndef BUILD_TSAN
#define BUILD_TSAN 0
#endif

#if defined(__SANITIZE_ADDRESS__)
#define BUILD_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define BUILD_ASAN 1
#endif
#endif
#ifndef BUILD_ASAN
#define BUILD_ASAN 0
#endif

#define BUILD_SANITIZED (BUILD_TSAN || BUILD_ASAN)

#endif
