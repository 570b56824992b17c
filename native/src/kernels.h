// What the instruction sets share: arguments of the kernels and the table each one fills.
#pragma once
#include <cstdint>

namespace unveil {

struct ScanArgs;

struct PassKernels;  // passes.h
struct SsdKernels;   // ssd.h

// One entry per operation. Each instruction set compiles the same sources and fills its own table.
struct Kernels {
  void (*scan_forward)(const ScanArgs& args);
  void (*scan_backward)(const ScanArgs& args);
  int64_t (*scan_backward_parts)(const ScanArgs& args);
  int64_t (*scan_limit)(int64_t steps, float* sink);
  void (*exp2)(const float* x, float* y, int64_t count);
  const PassKernels* passes;
  const SsdKernels* ssd;
};

// Runs `function(begin, end, context)` over [0, count) in torch's thread pool.
// `updates` is the work in elementary steps; little work runs on the calling thread.
using RangeFunction = void (*)(int64_t begin, int64_t end, void* context);
void parallel_for(int64_t count, int64_t updates, RangeFunction function, void* context);

// Threads that parallel_for would use for that much work.
int64_t thread_count(int64_t updates);

const Kernels& kernels();

}  // namespace unveil

namespace unveil::portable { extern const Kernels table; }
namespace unveil::avx2 { extern const Kernels table; }
namespace unveil::avx512 { extern const Kernels table; }
namespace unveil::neon { extern const Kernels table; }

#if defined(_WIN32)
#define UNVEIL_EXPORT extern "C" __declspec(dllexport)
#else
#define UNVEIL_EXPORT extern "C" __attribute__((visibility("default")))
#endif
