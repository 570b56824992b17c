// The fused passes of one instruction set.
#include "passes.h"
#include "table.h"

namespace unveil::UNVEIL_ISA {

const PassKernels passes = {
    depthwise_forward,
    depthwise_backward,
};

}  // namespace unveil::UNVEIL_ISA
