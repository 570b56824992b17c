// Hints to the compiler that have different names.
#pragma once

// Nothing else points to what this pointer writes.
#define UNVEIL_RESTRICT __restrict

// Loops over states and blocks must disappear for their arrays to live in registers.
#if defined(__clang__)
#define UNVEIL_UNROLL _Pragma("unroll")
#elif defined(__GNUC__)
#define UNVEIL_UNROLL _Pragma("GCC unroll 32")
#else
#define UNVEIL_UNROLL
#endif
