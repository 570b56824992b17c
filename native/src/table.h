// Functions every instruction set provides; `table.cpp` puts them in its table.
#pragma once
#include "kernels.h"

namespace unveil::UNVEIL_ISA {

int64_t scan_limit(int64_t steps, float* sink);
void exp2_array(const float* x, float* y, int64_t count);

}  // namespace unveil::UNVEIL_ISA
