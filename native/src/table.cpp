// The table of one instruction set.
#include "table.h"

namespace unveil::UNVEIL_ISA {

const Kernels table = {
    scan_limit,
    exp2_array,
};

}  // namespace unveil::UNVEIL_ISA
