/* compiler.h - the compiler extensions that the tree uses, and nothing else does. */
#ifndef SONDE_COMPILER_H
#define SONDE_COMPILER_H

#if defined(__GNUC__)
#define SONDE_INLINE static inline __attribute__((always_inline))
#define SONDE_UNROLL _Pragma("GCC unroll 16")
#define SONDE_UNUSED __attribute__((unused))
#define SONDE_PREFETCH(address) __builtin_prefetch((address), 0, 2) /* to the second cache */
#define SONDE_PREFETCH_WRITE(address) __builtin_prefetch((address), 1, 3)
/* A vector's value is made here, in the order of these marks: keeps a compiler from holding more of
 * them at a time than there are registers. */
#define SONDE_IN_ORDER(vector) __asm__ volatile("" : "+x"(vector))
#define SONDE_NO_UNROLL _Pragma("GCC unroll 1")
#else
#define SONDE_INLINE static inline
#define SONDE_UNROLL
#define SONDE_UNUSED
#define SONDE_PREFETCH(address) ((void)0)
#define SONDE_PREFETCH_WRITE(address) ((void)0)
#define SONDE_IN_ORDER(vector) ((void)0)
#define SONDE_NO_UNROLL
#endif

#endif
