// Holds every instruction set of the kernel library to a plain loop in double precision, without
// Python: for processors that only an emulator has, and for a new port's first minutes.
//   cmake -S native -B build -DUNVEIL_DRIVER=ON && cmake --build build && build/unveil_check
// Prints one line per instruction set and quantity; ends with 1 if an error is too large.
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "../src/scan.h"

extern "C" {
int32_t unveil_isa_count();
const char* unveil_isa_name(int32_t isa);
int32_t unveil_isa_usable(int32_t isa);
int32_t unveil_isa_choose(int32_t isa);
void unveil_scan_forward(const unveil::ScanArgs* args);
void unveil_scan_backward(const unveil::ScanArgs* args);
int64_t unveil_scan_backward_parts(const unveil::ScanArgs* args);
void unveil_exp2(const float* x, float* y, int64_t count);
}

bool check_unit(const char* isa);  // check_unit.cpp
bool check_pointwise(const char* isa);  // check_pointwise.cpp
bool check_gram_attention(const char* isa);  // check_gram_attention.cpp
bool check_ssd(const char* isa);   // check_ssd.cpp

namespace {

using unveil::ScanArgs;
using unveil::View;
using Doubles = std::vector<double>;

double silu_part(double x) { return 1 / (1 + std::exp(-x)); }

// Numbers as the kernels see them (rounded to their dtype) and as the loop does.
struct Array {
  int64_t dtype = unveil::kFloat32;
  std::vector<char> bytes;
  Doubles exact;

  char* data() { return bytes.data(); }
};

float bf16_to_float(uint16_t x) {
  const uint32_t bits = uint32_t(x) << 16;
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}

float half_to_float(uint16_t h) {
  const int exponent = (h >> 10) & 31;
  const double fraction = h & 1023;
  const double size = exponent == 0 ? std::ldexp(fraction, -24)
                                    : std::ldexp(1024 + fraction, exponent - 25);
  return float(h & 0x8000 ? -size : size);
}

double read(const Array& array, size_t i) {
  if (array.dtype == unveil::kFloat32) {
    float value;
    std::memcpy(&value, array.bytes.data() + 4 * i, 4);
    return value;
  }
  uint16_t bits;
  std::memcpy(&bits, array.bytes.data() + 2 * i, 2);
  return array.dtype == unveil::kBfloat16 ? bf16_to_float(bits) : half_to_float(bits);
}

// The nearest number of a 16-bit dtype, by search among those around: slow and plain.
uint16_t narrowest(float x, int64_t dtype) {
  auto value = [&](int bits) {
    return dtype == unveil::kBfloat16 ? bf16_to_float(uint16_t(bits)) : half_to_float(uint16_t(bits));
  };
  int low = 0, high = 0x7800;
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    (value(middle) <= std::fabs(x) ? low : high) = middle;
  }
  const int nearest = std::fabs(x) - value(low) <= value(high) - std::fabs(x) ? low : high;
  return uint16_t(nearest | (x < 0 ? 0x8000 : 0));
}

Array make(const Doubles& values, int64_t dtype) {
  Array array;
  array.dtype = dtype;
  array.bytes.resize(values.size() * (dtype == unveil::kFloat32 ? 4 : 2));
  for (size_t i = 0; i < values.size(); ++i) {
    const float value = float(values[i]);
    if (dtype == unveil::kFloat32) {
      std::memcpy(array.data() + 4 * i, &value, 4);
    } else {
      const uint16_t bits = narrowest(value, dtype);
      std::memcpy(array.data() + 2 * i, &bits, 2);
    }
  }
  for (size_t i = 0; i < values.size(); ++i) array.exact.push_back(read(array, i));
  return array;
}

// What a kernel has to fill: NaN everywhere, so that a gap shows.
Array blank(size_t count, int64_t dtype = unveil::kFloat32) {
  Array array;
  array.dtype = dtype;
  array.bytes.assign(count * (dtype == unveil::kFloat32 ? 4 : 2), char(0xff));
  return array;
}

struct Shape {
  int64_t batch, length, channels, states, groups, dtype;
};

struct Case {
  Shape s;
  Array u, delta, A, B, C, D, z, bias, initial, dout, dlast;
};

Case draw(const Shape& s, std::mt19937& engine) {
  std::normal_distribution<double> normal;
  std::uniform_real_distribution<double> uniform;
  auto normals = [&](int64_t count, double scale = 1, double shift = 0) {
    Doubles values(static_cast<size_t>(count));
    for (double& value : values) value = scale * normal(engine) + shift;
    return values;
  };
  const int64_t tokens = s.batch * s.length * s.channels, state = s.channels * s.states;
  const int64_t projected = s.batch * s.length * s.groups * s.states;
  Doubles decay(static_cast<size_t>(state));
  for (double& value : decay) value = -16 * uniform(engine) - 0.01;
  const int64_t wide = unveil::kFloat32;
  return {s,
          make(normals(tokens), s.dtype),
          make(normals(tokens, 1, -3), s.dtype),
          make(decay, wide),
          make(normals(projected), s.dtype),
          make(normals(projected), s.dtype),
          make(normals(s.channels), wide),
          make(normals(tokens), s.dtype),
          make(normals(s.channels, 0.5), wide),
          make(normals(s.batch * state), wide),
          make(normals(tokens), s.dtype),
          make(normals(s.batch * state), wide)};
}

// Results by name, the same for the loop and for the kernels.
struct Results {
  Doubles out, last, du, ddelta, dA, dB, dC, dD, dz, dbias, dinitial;
};

// h_t = exp(delta A) h + delta B u, out = (C h + D u) silu(z), and its gradients, for one channel.
void loop(const Case& c, int64_t b, int64_t d, Results& r) {
  const Shape& s = c.s;
  const int64_t n = s.states, group = d / (s.channels / s.groups);
  auto at = [&](int64_t t) { return size_t((b * s.length + t) * s.channels + d); };
  auto of = [&](int64_t t, int64_t j) {
    return size_t(((b * s.length + t) * s.groups + group) * n + j);
  };
  auto own = [&](int64_t j) { return size_t((b * s.channels + d) * n + j); };
  Doubles h(size_t((s.length + 1) * n)), g(static_cast<size_t>(n));
  for (int64_t j = 0; j < n; ++j) {
    h[size_t(j)] = c.initial.exact[own(j)], g[size_t(j)] = c.dlast.exact[own(j)];
  }
  for (int64_t t = 0; t < s.length; ++t) {
    const double step = std::log1p(std::exp(c.delta.exact[at(t)] + c.bias.exact[size_t(d)]));
    double y = c.D.exact[size_t(d)] * c.u.exact[at(t)];
    for (int64_t j = 0; j < n; ++j) {
      const double decayed =
          std::exp(step * c.A.exact[size_t(d * n + j)]) * h[size_t(t * n + j)];
      const double now = decayed + step * c.u.exact[at(t)] * c.B.exact[of(t, j)];
      h[size_t((t + 1) * n + j)] = now;
      y += c.C.exact[of(t, j)] * now;
    }
    const double z = c.z.exact[at(t)], open = silu_part(z), dout = c.dout.exact[at(t)];
    r.out[at(t)] = y * z * open;
    r.dz[at(t)] = dout * y * open * (1 + z * (1 - open));
  }
  for (int64_t j = 0; j < n; ++j) r.last[own(j)] = h[size_t(s.length * n + j)];
  for (int64_t t = s.length - 1; t >= 0; --t) {
    const double raw = c.delta.exact[at(t)] + c.bias.exact[size_t(d)];
    const double step = std::log1p(std::exp(raw)), u = c.u.exact[at(t)], z = c.z.exact[at(t)];
    const double dy = c.dout.exact[at(t)] * z * silu_part(z);
    double dstep = 0, du = dy * c.D.exact[size_t(d)];
    for (int64_t j = 0; j < n; ++j) {
      const double a = c.A.exact[size_t(d * n + j)], decay = std::exp(step * a);
      const double before = h[size_t(t * n + j)], B = c.B.exact[of(t, j)];
      g[size_t(j)] += dy * c.C.exact[of(t, j)];
      const double dh = g[size_t(j)];
      r.dC[of(t, j)] += dy * h[size_t((t + 1) * n + j)];
      r.dB[of(t, j)] += dh * step * u;
      r.dA[size_t(d * n + j)] += dh * step * decay * before;
      dstep += dh * (a * decay * before + u * B);
      du += dh * step * B;
      g[size_t(j)] = decay * dh;
    }
    r.du[at(t)] = du;
    r.ddelta[at(t)] = dstep * silu_part(raw);
    r.dbias[size_t(d)] += r.ddelta[at(t)];
    r.dD[size_t(d)] += dy * u;
  }
  for (int64_t j = 0; j < n; ++j) r.dinitial[own(j)] = g[size_t(j)];
}

Results zeros(const Case& c) {
  const size_t tokens = c.u.exact.size(), projected = c.B.exact.size();
  const size_t states = c.initial.exact.size(), parameters = c.A.exact.size();
  const size_t channels = c.D.exact.size();
  auto of = [](size_t count) { return Doubles(count, 0.0); };
  return {of(tokens),    of(states),    of(tokens),   of(tokens), of(parameters), of(projected),
          of(projected), of(channels),  of(tokens),   of(channels), of(states)};
}

Results in_double(const Case& c) {
  Results results = zeros(c);
  for (int64_t b = 0; b < c.s.batch; ++b) {
    for (int64_t d = 0; d < c.s.channels; ++d) loop(c, b, d, results);
  }
  return results;
}

// Views of contiguous arrays: (b, l, d), (b, l, g, n), (d, n), (d), (b, d, n).
View tokens_view(const Shape& s, Array& a) {
  return {a.data(), a.dtype, s.length * s.channels, 0, s.channels, 0, 0, 1};
}
View projection_view(const Shape& s, Array& a) {
  const int64_t row = s.groups * s.states;
  return {a.data(), a.dtype, s.length * row, 0, row, 0, s.states, 1};
}
View state_view(const Shape& s, Array& a, bool batched) {
  return {a.data(), a.dtype, batched ? s.channels * s.states : 0, 0, 0, 0, s.states, 1};
}
View channel_view(const Shape& s, Array& a, bool batched) {
  return {a.data(), a.dtype, batched ? s.channels : 0, 0, 0, 0, 1, 0};
}

void gather(const Array& from, Doubles& to, size_t parts = 1) {
  const size_t count = to.size();
  to.assign(count, 0.0);
  for (size_t i = 0; i < count * parts; ++i) to[i % count] += read(from, i);
}

Results in_kernel(Case& c) {
  const Shape& s = c.s;
  Results r = zeros(c);
  Array out = blank(r.out.size(), s.dtype), last = blank(r.last.size());
  const int64_t segments = (s.length + unveil::kSegment - 1) / unveil::kSegment;
  const int64_t per_segment = s.channels * s.states;
  Array kept = blank(size_t(s.batch * segments * per_segment));
  ScanArgs args{};
  args.batch = s.batch, args.height = 1, args.width = s.length, args.directions = 1;
  args.channels = s.channels, args.states = s.states, args.groups = s.groups;
  args.softplus = 1;
  args.u = tokens_view(s, c.u), args.delta = tokens_view(s, c.delta);
  args.z = tokens_view(s, c.z), args.out = tokens_view(s, out);
  args.B = projection_view(s, c.B), args.C = projection_view(s, c.C);
  args.A = state_view(s, c.A, false), args.initial = state_view(s, c.initial, true);
  args.last = state_view(s, last, true);
  args.D = channel_view(s, c.D, false), args.bias = channel_view(s, c.bias, false);
  args.states_kept = {kept.data(), kept.dtype,  segments * per_segment, per_segment, 0, 0, 1,
                      s.channels};
  unveil_scan_forward(&args);

  const int64_t parts = unveil_scan_backward_parts(&args);
  const size_t batch = size_t(s.batch), projected = r.dB.size();
  Array du = blank(r.du.size(), s.dtype), ddelta = blank(r.du.size(), s.dtype);
  Array dz = blank(r.du.size(), s.dtype), dinitial = blank(r.last.size());
  Array dA = blank(batch * r.dA.size()), dD = blank(batch * r.dD.size());
  Array dbias = blank(batch * r.dD.size());
  // Partial sums are added to.
  Array dB = make(Doubles(projected * size_t(parts), 0.0), unveil::kFloat32), dC = dB;
  args.parts = parts, args.B_part = args.C_part = int64_t(projected);
  args.dout = tokens_view(s, c.dout), args.dlast = state_view(s, c.dlast, true);
  args.du = tokens_view(s, du), args.ddelta = tokens_view(s, ddelta);
  args.dz = tokens_view(s, dz), args.dA = state_view(s, dA, true);
  args.dB = projection_view(s, dB), args.dC = projection_view(s, dC);
  args.dD = channel_view(s, dD, true), args.dbias = channel_view(s, dbias, true);
  args.dinitial = state_view(s, dinitial, true);
  unveil_scan_backward(&args);

  gather(out, r.out), gather(last, r.last), gather(du, r.du), gather(ddelta, r.ddelta);
  gather(dA, r.dA, batch), gather(dB, r.dB, size_t(parts)), gather(dC, r.dC, size_t(parts));
  gather(dD, r.dD, batch), gather(dz, r.dz), gather(dbias, r.dbias, batch);
  gather(dinitial, r.dinitial);
  return r;
}

// ||found - expected|| / ||expected||; not a number if anything found is not one.
double relative_error(const Doubles& found, const Doubles& expected) {
  double error = 0, size = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    error += (found[i] - expected[i]) * (found[i] - expected[i]);
    size += expected[i] * expected[i];
  }
  return std::sqrt(error / size);
}

struct Named {
  const char* name;
  Doubles Results::* values;
  bool narrow;  // rounded to the dtype of u
};

const Named kNamed[] = {
    {"out", &Results::out, true},       {"last", &Results::last, false},
    {"du", &Results::du, true},         {"ddelta", &Results::ddelta, true},
    {"dA", &Results::dA, false},        {"dB", &Results::dB, false},
    {"dC", &Results::dC, false},        {"dD", &Results::dD, false},
    {"dz", &Results::dz, true},         {"dbias", &Results::dbias, false},
    {"dinitial", &Results::dinitial, false},
};

const Shape kShapes[] = {
    {1, 1, 1, 1, 1, unveil::kFloat32},     {2, 33, 7, 4, 1, unveil::kFloat32},
    {1, 70, 24, 16, 2, unveil::kFloat32},  {1, 257, 40, 8, 1, unveil::kFloat32},
    {2, 45, 19, 5, 1, unveil::kFloat32},   {1, 40, 6, 3, 3, unveil::kFloat32},
    {1, 66, 24, 16, 2, unveil::kBfloat16}, {1, 66, 24, 16, 2, unveil::kFloat16},
};

// fp32: sums of a few hundred terms. Narrow dtypes: half a unit in the last place of the result.
double limit_of(const Named& named, const Shape& s) {
  if (!named.narrow || s.dtype == unveil::kFloat32) return 5e-6;
  return s.dtype == unveil::kBfloat16 ? 4e-3 : 5e-4;
}

bool check_scan(const char* isa) {
  std::mt19937 engine(7);
  double worst[sizeof(kNamed) / sizeof(Named)] = {};
  bool good = true;
  for (const Shape& s : kShapes) {
    Case c = draw(s, engine);
    const Results expected = in_double(c), found = in_kernel(c);
    for (size_t i = 0; i < sizeof(kNamed) / sizeof(Named); ++i) {
      const double error = relative_error(found.*kNamed[i].values, expected.*kNamed[i].values);
      if (!(error <= limit_of(kNamed[i], s))) {
        std::printf("%s: %s is off by %.2e at b %d, l %d, d %d, n %d, g %d, dtype %d\n", isa,
                    kNamed[i].name, error, int(s.batch), int(s.length), int(s.channels),
                    int(s.states), int(s.groups), int(s.dtype));
        good = false;
      }
      if (s.dtype == unveil::kFloat32 && error > worst[i]) worst[i] = error;
    }
  }
  std::printf("%s: largest relative errors in fp32:", isa);
  for (size_t i = 0; i < sizeof(kNamed) / sizeof(Named); ++i) {
    std::printf(" %s %.1e", kNamed[i].name, worst[i]);
  }
  std::printf("\n");
  return good;
}

// 2^x relative to 1 - 2^x: what a long memory needs.
bool check_exp2(const char* isa) {
  std::vector<float> x, y;
  for (double v = -130; v < 127; v += 0.0137) x.push_back(float(v));
  for (double v = 1e-7; v < 1; v *= 1.3) x.push_back(float(-v));
  x.push_back(0.0f);
  y.resize(x.size());
  unveil_exp2(x.data(), y.data(), int64_t(x.size()));
  double worst = 0, worst_memory = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double exact = std::exp2(double(x[i]));
    // Results near and below the smallest normal number may be flushed to 0.
    if (x[i] > -125) worst = std::fmax(worst, std::fabs(y[i] - exact) / exact);
    if (x[i] > -1 && x[i] < 0) {
      // Beyond the rounding of the result itself.
      const double beyond = std::fmax(0.0, std::fabs(y[i] - exact) - 6e-8);
      worst_memory = std::fmax(worst_memory, beyond / (1 - exact));
    }
  }
  std::printf("%s: exp2 is off by %.1e, of 1 - exp2 by %.1e\n", isa, worst, worst_memory);
  return worst < 2.5e-7 && worst_memory < 1e-6 && y.back() == 1.0f;
}

// State updates per second, on one thread; an emulator's figure says nothing about a processor.
void measure(const char* isa) {
  std::mt19937 engine(7);
  Case c = draw({1, 1024, 192, 16, 1, unveil::kFloat32}, engine);
  const auto start = std::chrono::steady_clock::now();
  in_kernel(c);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  std::printf("%s: forward and backward of 3.1 M state updates in %.0f ms\n", isa,
              1e3 * seconds.count());
}

}  // namespace

int main() {
  bool good = true;
  for (int32_t isa = 0; isa < unveil_isa_count(); ++isa) {
    if (!unveil_isa_usable(isa)) continue;
    unveil_isa_choose(isa);
    const char* name = unveil_isa_name(isa);
    good &= check_exp2(name);
    good &= check_scan(name);
    good &= check_unit(name);
    good &= check_pointwise(name);
    good &= check_gram_attention(name);
    good &= check_ssd(name);
    measure(name);
  }
  std::printf(good ? "all within their limits\n" : "FAILED\n");
  return good ? 0 : 1;
}
