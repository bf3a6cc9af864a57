/* compiler.h -- the only place for compiler extensions. */
#ifndef ERNE_COMPILER_H
#define ERNE_COMPILER_H

#include <limits.h> /* says whether the C library is glibc */

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "erne maps its files as they are: it needs a little-endian machine"
#endif

#if defined(__GNUC__) || defined(__clang__)
#if defined(__MINGW32__) && !defined(__clang__)
#define ERNE_PRINTF(fmt, args) __attribute__((format(gnu_printf, fmt, args)))
#else
#define ERNE_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#endif
#define ERNE_UNUSED __attribute__((unused))
/* For functions whose arguments must be constants in their bodies. */
#define ERNE_ALWAYS_INLINE inline __attribute__((always_inline))
#define ERNE_PREFETCH_L2(p) __builtin_prefetch(p, 0, 2) /* not into the first cache */
/* Whether this x86 processor has an instruction set that the system supports. */
#define ERNE_CPU_HAS(name) (__builtin_cpu_supports(name) != 0)
#else
#define ERNE_PRINTF(fmt, args)
#define ERNE_UNUSED
#define ERNE_ALWAYS_INLINE inline
#define ERNE_PREFETCH_L2(p) ((void)(p))
#endif

/* Marks bytes that nobody may touch, where the build has AddressSanitizer. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ERNE_HAVE_ASAN
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define ERNE_HAVE_ASAN
#endif
#ifdef ERNE_HAVE_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/lsan_interface.h>
/* Around calls into a foreign library that keeps memory until it is unloaded, when the
 * sanitizer no longer knows whose it was. */
#define ERNE_LEAKS_BEGIN() __lsan_disable()
#define ERNE_LEAKS_END()   __lsan_enable()
#define ERNE_POISON(p, n_bytes) __asan_poison_memory_region(p, n_bytes)
#define ERNE_UNPOISON(p, n_bytes) __asan_unpoison_memory_region(p, n_bytes)
#else
#define ERNE_LEAKS_BEGIN()       ((void)0)
#define ERNE_LEAKS_END()         ((void)0)
#define ERNE_POISON(p, n_bytes) ((void)(p), (void)(n_bytes))
#define ERNE_UNPOISON(p, n_bytes) ((void)(p), (void)(n_bytes))
#endif

/* Builds a loop for wider vectors, too; which one runs is decided when the program
 * starts. The results are the same bits: ISO C contracts no product with a sum, and no
 * sum changes its order. Not with sanitizers, whose code cannot run that early. */
#if defined(__GLIBC__) && defined(__x86_64__) && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define ERNE_CLONES __attribute__((target_clones("default", "avx2", "avx512f")))
#else
#define ERNE_CLONES
#endif

/* Tells the processor that this thread spins. */
#if defined(__x86_64__) || defined(__i386__)
#define ERNE_PAUSE() __builtin_ia32_pause()
#elif defined(__aarch64__)
#define ERNE_PAUSE() __asm__ __volatile__("yield")
#else
#define ERNE_PAUSE() ((void)0)
#endif

#define ERNE_ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

#endif
