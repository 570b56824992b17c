// Staging of tokens and parameters, see staging.h.
#include "staging.h"

namespace unveil::UNVEIL_ISA {

namespace {

Vec gather_row(const View& view, int64_t offset, int count) {
  float values[kLanes] = {};
  for (int i = 0; i < count; ++i) values[i] = load_one(view, offset + i * view.c);
  return load(values);
}

void scatter_row(const View& view, int64_t offset, Vec value, int count) {
  float values[kLanes];
  store(values, value);
  for (int i = 0; i < count; ++i) store_row(view, offset + i * view.c, splat(values[i]), 1);
}

// Tokens are consecutive in memory: squares of kLanes x kLanes are transposed in registers.
void stage_transposed(const View& view, int64_t base, const Tokens& tokens, int lanes,
                      float* buffer, int64_t row) {
  const int64_t origin = base + tokens.offset(view, 0);
  for (int64_t t = 0; t < tokens.count; t += kLanes) {
    const int left = int(tokens.count - t < kLanes ? tokens.count - t : kLanes);
    Vec square[kLanes];
    for (int i = 0; i < kLanes; ++i) {
      square[i] = i < lanes ? load_row(view, origin + i * view.c + t, left) : splat(0.0f);
    }
    transpose(square);
    for (int i = 0; i < left; ++i) store(buffer + (t + i) * row, square[i]);
  }
}

void unstage_transposed(const View& view, int64_t base, const Tokens& tokens, int lanes,
                        const float* buffer, int64_t row, bool add) {
  const int64_t origin = base + tokens.offset(view, 0);
  for (int64_t t = 0; t < tokens.count; t += kLanes) {
    const int left = int(tokens.count - t < kLanes ? tokens.count - t : kLanes);
    Vec square[kLanes];
    for (int i = 0; i < kLanes; ++i) {
      square[i] = i < left ? load(buffer + (t + i) * row) : splat(0.0f);
    }
    transpose(square);
    for (int i = 0; i < lanes; ++i) {
      const int64_t offset = origin + i * view.c + t;
      const Vec sum = add ? square[i] + load_row(view, offset, left) : square[i];
      store_row(view, offset, sum, left);
    }
  }
}

// One channel is a row of one; otherwise channels must be neighbours.
bool has_rows(const View& view, const Tokens& tokens, int lanes) {
  return view.c == 1 || (lanes == 1 && !tokens.contiguous(view));
}

}  // namespace

// Lanes beyond `lanes` are zero: sums over lanes rely on it.
void stage(const View& view, int64_t base, const Tokens& tokens, int lanes, float* buffer,
           int64_t row) {
  if (has_rows(view, tokens, lanes)) {
    for (int64_t t = 0; t < tokens.count; ++t) {
      store(buffer + t * row, load_row(view, base + tokens.offset(view, t), lanes));
    }
  } else if (view.c == 0 && lanes == kLanes) {
    for (int64_t t = 0; t < tokens.count; ++t) {
      store(buffer + t * row, splat(load_one(view, base + tokens.offset(view, t))));
    }
  } else if (tokens.contiguous(view)) {
    stage_transposed(view, base, tokens, lanes, buffer, row);
  } else {
    for (int64_t t = 0; t < tokens.count; ++t) {
      store(buffer + t * row, gather_row(view, base + tokens.offset(view, t), lanes));
    }
  }
}

void unstage(const View& view, int64_t base, const Tokens& tokens, int lanes, const float* buffer,
             int64_t row, bool add) {
  if (!has_rows(view, tokens, lanes) && tokens.contiguous(view)) {
    unstage_transposed(view, base, tokens, lanes, buffer, row, add);
    return;
  }
  const bool rows = has_rows(view, tokens, lanes);
  for (int64_t t = 0; t < tokens.count; ++t) {
    const int64_t offset = base + tokens.offset(view, t);
    const Vec value = load(buffer + t * row);
    if (rows) {
      store_row(view, offset, add ? value + load_row(view, offset, lanes) : value, lanes);
    } else {
      scatter_row(view, offset, add ? value + gather_row(view, offset, lanes) : value, lanes);
    }
  }
}

bool unstage_past(const View& view, int64_t base, const Tokens& tokens, int lanes,
                  const float* buffer) {
  constexpr int64_t kLine = 64 / sizeof(float);
  float* origin = reinterpret_cast<float*>(view.data) + base + tokens.offset(view, 0);
  if (view.dtype != kFloat32 || tokens.count != kTokens || !tokens.contiguous(view) ||
      view.c % kLine != 0 || reinterpret_cast<uintptr_t>(origin) % 64 != 0) {
    return false;
  }
  for (int64_t t = 0; t < kTokens; t += kLanes) {
    Vec square[kLanes];
    for (int i = 0; i < kLanes; ++i) square[i] = load(buffer + (t + i) * kLanes);
    transpose(square);
    for (int i = 0; i < lanes; ++i) store_past(origin + i * view.c + t, square[i]);
  }
  return true;
}

void look_ahead(const View& view, int64_t base, const Tokens& tokens, int lanes, Ahead& ahead) {
  if (view.data == nullptr || tokens.empty()) return;
  const int64_t size = view.dtype == kFloat32 ? 4 : 2, line = 64 / size;
  const int64_t stride = tokens.stride(view);
  if (view.c == 1 && stride != 0) {
    const char* p = view.data + (base + tokens.offset(view, 0)) * size;
    for (int64_t t = 0; t < tokens.count; ++t) ahead.add(p + t * stride * size);
  } else if (view.c == 1) {
    for (int64_t t = 0; t < tokens.count; ++t) {
      ahead.add(view.data + (base + tokens.offset(view, t)) * size);
    }
  } else if (stride == 1) {
    const int64_t origin = base + tokens.offset(view, 0);
    for (int i = 0; i < lanes; ++i) {
      for (int64_t t = 0; t < tokens.count; t += line) {
        ahead.add(view.data + (origin + i * view.c + t) * size);
      }
    }
  }
}

void stage_parameter(const View& view, int64_t base, int64_t states, int lanes, float scale,
                     float* buffer) {
  for (int64_t n = 0; n < states; n += kLanes) {
    const int left = int(states - n < kLanes ? states - n : kLanes);
    Vec square[kLanes];
    for (int i = 0; i < kLanes; ++i) {
      const int64_t at = base + i * view.g + n * view.c;
      square[i] = splat(0.0f);
      if (i < lanes) {
        square[i] = view.c == 1 ? load_row(view, at, left) : gather_row(view, at, left);
      }
    }
    transpose(square);
    for (int i = 0; i < left; ++i) store(buffer + (n + i) * kLanes, square[i] * splat(scale));
  }
}

void unstage_parameter(const View& view, int64_t base, int64_t states, int lanes,
                       const float* buffer) {
  for (int64_t n = 0; n < states; n += kLanes) {
    const int left = int(states - n < kLanes ? states - n : kLanes);
    Vec square[kLanes];
    for (int i = 0; i < kLanes; ++i) {
      square[i] = i < left ? load(buffer + (n + i) * kLanes) : splat(0.0f);
    }
    transpose(square);
    for (int i = 0; i < lanes; ++i) {
      const int64_t at = base + i * view.g + n * view.c;
      if (view.c == 1) {
        store_row(view, at, square[i], left);
      } else {
        scatter_row(view, at, square[i], left);
      }
    }
  }
}

}  // namespace unveil::UNVEIL_ISA
