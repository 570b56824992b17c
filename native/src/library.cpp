// The C interface: choice of the instruction set, torch's thread pool, entry points.
#include <atomic>
#include <cstddef>

#include "kernels.h"
#include "scan.h"

#if defined(_MSC_VER)
#include <immintrin.h>
#include <intrin.h>
#endif

namespace unveil {
namespace {

enum Isa { kPortable, kAvx2, kAvx512, kNeon, kIsaCount };

const char* const kIsaNames[kIsaCount] = {"portable", "avx2", "avx512", "neon"};

const Kernels* const kTables[kIsaCount] = {
    &portable::table,
#if defined(UNVEIL_HAS_AVX2)
    &avx2::table,
    &avx512::table,
#else
    nullptr,
    nullptr,
#endif
#if defined(UNVEIL_HAS_NEON)
    &neon::table,
#else
    nullptr,
#endif
};

#if defined(UNVEIL_HAS_AVX2) && defined(_MSC_VER)
bool machine_has(Isa isa) {
  int leaf1[4], leaf7[4];
  __cpuid(leaf1, 1);
  const bool saves_state = (leaf1[2] >> 27) & 1;
  if (!saves_state) return false;
  __cpuidex(leaf7, 7, 0);
  const unsigned long long enabled = _xgetbv(0);
  const bool fma_f16c = ((leaf1[2] >> 12) & 1) && ((leaf1[2] >> 29) & 1);
  const bool avx2 = fma_f16c && ((leaf7[1] >> 5) & 1) && (enabled & 6) == 6;
  if (isa == kAvx2) return avx2;
  const unsigned f_dq_bw_vl = (1u << 16) | (1u << 17) | (1u << 30) | (1u << 31);
  return avx2 && (unsigned(leaf7[1]) & f_dq_bw_vl) == f_dq_bw_vl && (enabled & 0xe6) == 0xe6;
}
#elif defined(UNVEIL_HAS_AVX2)
bool machine_has(Isa isa) {
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                    __builtin_cpu_supports("f16c");
  if (isa == kAvx2) return avx2;
  return avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
#else
// What was compiled for this processor at all; every 64-bit ARM has NEON.
bool machine_has(Isa isa) { return isa == kNeon; }
#endif

bool usable(int isa) {
  if (isa < 0 || isa >= kIsaCount || kTables[isa] == nullptr) return false;
  return isa == kPortable || machine_has(Isa(isa));
}

int best_isa() {
  for (int isa = kIsaCount - 1; isa > kPortable; --isa) {
    if (usable(isa)) return isa;
  }
  return kPortable;
}

std::atomic<int> chosen_isa{-1};

using TorchParallelFor = int32_t (*)(int64_t, int64_t, int64_t, RangeFunction, void*);
using TorchNumThreads = int32_t (*)(uint32_t*);
std::atomic<TorchParallelFor> torch_parallel_for{nullptr};
std::atomic<TorchNumThreads> torch_num_threads{nullptr};

// Waking the pool costs some microseconds; below this many elementary steps one thread is faster.
constexpr int64_t kSerialBelow = 400000;

}  // namespace

const Kernels& kernels() {
  int isa = chosen_isa.load(std::memory_order_relaxed);
  if (isa < 0) {
    isa = best_isa();
    chosen_isa.store(isa, std::memory_order_relaxed);
  }
  return *kTables[isa];
}

int64_t thread_count(int64_t updates) {
  const auto threads = torch_num_threads.load(std::memory_order_relaxed);
  uint32_t count = 1;
  if (updates < kSerialBelow || threads == nullptr || threads(&count) != 0) return 1;
  return count;
}

void parallel_for(int64_t count, int64_t updates, RangeFunction function, void* context) {
  const auto pool = torch_parallel_for.load(std::memory_order_relaxed);
  if (pool == nullptr || count < 2 || thread_count(updates) < 2) {
    function(0, count, context);
  } else {
    pool(0, count, 1, function, context);
  }
}

}  // namespace unveil

using namespace unveil;

// Raised whenever the meaning of an exported function or of its arguments changes.
UNVEIL_EXPORT int32_t unveil_abi_version() { return 1; }

UNVEIL_EXPORT int32_t unveil_isa_count() { return kIsaCount; }

UNVEIL_EXPORT const char* unveil_isa_name(int32_t isa) {
  return isa >= 0 && isa < kIsaCount ? kIsaNames[isa] : "";
}

UNVEIL_EXPORT int32_t unveil_isa_compiled(int32_t isa) {
  return isa >= 0 && isa < kIsaCount && kTables[isa] != nullptr;
}

UNVEIL_EXPORT int32_t unveil_isa_usable(int32_t isa) { return usable(isa); }

// Returns 0 and changes nothing when this machine cannot run `isa`.
UNVEIL_EXPORT int32_t unveil_isa_choose(int32_t isa) {
  if (!usable(isa)) return 0;
  chosen_isa.store(isa);
  return 1;
}

UNVEIL_EXPORT int32_t unveil_isa_chosen() {
  kernels();
  return chosen_isa.load();
}

// Addresses of torch's C functions `torch_parallel_for` and `torch_get_num_threads`; without them
// everything runs on the calling thread.
UNVEIL_EXPORT void unveil_use_thread_pool(void* parallel, void* num_threads) {
  torch_parallel_for.store(reinterpret_cast<TorchParallelFor>(parallel));
  torch_num_threads.store(reinterpret_cast<TorchNumThreads>(num_threads));
}

UNVEIL_EXPORT int64_t unveil_thread_count(int64_t updates) { return thread_count(updates); }

UNVEIL_EXPORT int64_t unveil_scan_args_size() { return sizeof(ScanArgs); }

UNVEIL_EXPORT int64_t unveil_scan_segment() { return kSegment; }

UNVEIL_EXPORT void unveil_scan_forward(const ScanArgs* args) { kernels().scan_forward(*args); }

UNVEIL_EXPORT void unveil_scan_backward(const ScanArgs* args) { kernels().scan_backward(*args); }

// The number of partial sums `unveil_scan_backward` should be given room for.
UNVEIL_EXPORT int64_t unveil_scan_backward_parts(const ScanArgs* args) {
  return kernels().scan_backward_parts(*args);
}

UNVEIL_EXPORT int64_t unveil_scan_limit(int64_t steps, float* sink) {
  return kernels().scan_limit(steps, sink);
}

UNVEIL_EXPORT void unveil_exp2(const float* x, float* y, int64_t count) {
  kernels().exp2(x, y, count);
}
