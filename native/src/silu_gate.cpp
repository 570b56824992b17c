// x SiLU(gate), element by element.
#include <algorithm>

#include "activation.h"
#include "passes.h"

namespace unveil::UNVEIL_ISA {
namespace {

constexpr int64_t kChunk = 16384;

// Calls body(first element, count) for every vector of the array, in parallel.
template <class Body>
void for_elements(int64_t size, int64_t cost, const Body& body) {
  for_each_task((size + kChunk - 1) / kChunk, cost * size, [&](int64_t chunk) {
    const int64_t end = std::min(size, (chunk + 1) * kChunk);
    int64_t i = chunk * kChunk;
    for (; i + kLanes <= end; i += kLanes) body(i, kLanes);
    if (i < end) body(i, int(end - i));
  });
}

}  // namespace

void silu_gate_forward(const float* x, const float* gate, float* output, int64_t size) {
  for_elements(size, 3, [&](int64_t i, int n) {
    store_first(output + i, load_first(x + i, n) * Silu{}.value(load_first(gate + i, n)), n);
  });
}

void silu_gate_backward(const float* x, const float* gate, const float* grad, float* grad_x,
                        float* grad_gate, int64_t size) {
  for_elements(size, 4, [&](int64_t i, int n) {
    const Tangent silu = Silu{}.tangent(load_first(gate + i, n));
    const Vec g = load_first(grad + i, n);
    store_first(grad_x + i, g * silu.value, n);
    store_first(grad_gate + i, g * load_first(x + i, n) * silu.slope, n);
  });
}

}  // namespace unveil::UNVEIL_ISA
