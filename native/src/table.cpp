// The table of one instruction set.
#include "passes.h"
#include "ssd.h"
#include "table.h"

namespace unveil::UNVEIL_ISA {

const Kernels table = {
    scan_forward,
    scan_backward,
    scan_backward_parts,
    scan_limit,
    exp2_array,
    &passes,
    &ssd,
};

}  // namespace unveil::UNVEIL_ISA
