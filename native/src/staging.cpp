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
                      float* buffer) {
  const int64_t origin = base + tokens.offset(view, 0);
  for (int64_t t = 0; t < tokens.count; t += kLanes) {
    const int left = int(tokens.count - t < kLanes ? tokens.count - t : kLanes);
    Vec square[kLanes];
    for (int i = 0; i < kLanes; ++i) {
      square[i] = i < lanes ? load_row(view, origin + i * view.c + t, left) : splat(0.0f);
    }
    transpose(square);
    for (int i = 0; i < left; ++i) store(buffer + (t + i) * kLanes, square[i]);
  }
}

void unstage_transposed(const View& view, int64_t base, const Tokens& tokens, int lanes,
                        const float* buffer, bool add) {
  const int64_t origin = base + tokens.offset(view, 0);
  for (int64_t t = 0; t < tokens.count; t += kLanes) {
    const int left = int(tokens.count - t < kLanes ? tokens.count - t : kLanes);
    Vec square[kLanes];
    for (int i = 0; i < kLanes; ++i) {
      square[i] = i < left ? load(buffer + (t + i) * kLanes) : splat(0.0f);
    }
    transpose(square);
    for (int i = 0; i < lanes; ++i) {
      const int64_t offset = origin + i * view.c + t;
      const Vec sum = add ? square[i] + load_row(view, offset, left) : square[i];
      store_row(view, offset, sum, left);
    }
  }
}

}  // namespace

void stage(const View& view, int64_t base, const Tokens& tokens, int lanes, float* buffer) {
  if (view.c == 1 || (lanes == 1 && !tokens.contiguous(view))) {
    for (int64_t t = 0; t < tokens.count; ++t) {
      store(buffer + t * kLanes, load_row(view, base + tokens.offset(view, t), lanes));
    }
  } else if (view.c == 0) {
    for (int64_t t = 0; t < tokens.count; ++t) {
      store(buffer + t * kLanes, splat(load_one(view, base + tokens.offset(view, t))));
    }
  } else if (tokens.contiguous(view)) {
    stage_transposed(view, base, tokens, lanes, buffer);
  } else {
    for (int64_t t = 0; t < tokens.count; ++t) {
      const int64_t offset = base + tokens.offset(view, t);
      for (int i = 0; i < kLanes; ++i) {
        buffer[t * kLanes + i] = i < lanes ? load_one(view, offset + i * view.c) : 0.0f;
      }
    }
  }
}

void unstage(const View& view, int64_t base, const Tokens& tokens, int lanes, const float* buffer,
             bool add) {
  if (view.c == 1 || (lanes == 1 && !tokens.contiguous(view))) {
    for (int64_t t = 0; t < tokens.count; ++t) {
      const int64_t offset = base + tokens.offset(view, t);
      const Vec value = load(buffer + t * kLanes);
      store_row(view, offset, add ? value + load_row(view, offset, lanes) : value, lanes);
    }
  } else if (tokens.contiguous(view)) {
    unstage_transposed(view, base, tokens, lanes, buffer, add);
  } else {
    for (int64_t t = 0; t < tokens.count; ++t) {
      const int64_t offset = base + tokens.offset(view, t);
      for (int i = 0; i < lanes; ++i) {
        const int64_t at = offset + i * view.c;
        const float value = buffer[t * kLanes + i];
        store_row(view, at, splat(add ? value + load_one(view, at) : value), 1);
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
