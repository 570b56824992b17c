"""Operations on tensors; no modules, no parameters."""
