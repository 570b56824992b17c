// Functions every instruction set provides; `table.cpp` puts them in its table.
#pragma once
#include "kernels.h"
#include "scan.h"

namespace unveil::UNVEIL_ISA {

void scan_forward(const ScanArgs& args);
void scan_backward(const ScanArgs& args);
int64_t scan_backward_parts(const ScanArgs& args);
int64_t scan_limit(int64_t steps, float* sink);
void exp2_array(const float* x, float* y, int64_t count);

}  // namespace unveil::UNVEIL_ISA
