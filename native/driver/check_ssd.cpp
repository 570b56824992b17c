// Holds Mamba-2's scan, forward and backward, to a loop over tokens in double precision.
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <random>
#include <vector>

extern "C" {
int64_t unveil_ssd_chunk();
void unveil_ssd_forward(const float* x, const float* dt, const float* A, const float* B,
                        const float* C, const float* D, const float* initial, const uint8_t* fresh,
                        float* y, float* last, float* kept, int64_t batch, int64_t tokens,
                        int64_t heads, int64_t width, int64_t groups, int64_t states);
void unveil_ssd_backward(const float* x, const float* dt, const float* A, const float* B,
                         const float* C, const float* D, const uint8_t* fresh, const float* grad_y,
                         const float* grad_last, const float* kept, float* after, float* grad_x,
                         float* grad_dt, float* grad_A, float* grad_B, float* grad_C, float* grad_D,
                         float* grad_initial, int64_t batch, int64_t tokens, int64_t heads,
                         int64_t width, int64_t groups, int64_t states);
}

namespace {

using Floats = std::vector<float>;
using Doubles = std::vector<double>;

struct Shape {
  int64_t batch, tokens, heads, width, groups, states;
};

struct Case {
  Shape s;
  Floats x, dt, A, B, C, D, initial, dy, dlast;
  std::vector<uint8_t> fresh;
};

struct Results {
  Doubles y, last, dx, ddt, dA, dB, dC, dD, dinitial;
};

struct Named {
  const char* name;
  Doubles Results::* values;
};

const Named kNamed[] = {{"y", &Results::y},   {"last", &Results::last}, {"dx", &Results::dx},
                        {"ddt", &Results::ddt}, {"dA", &Results::dA},   {"dB", &Results::dB},
                        {"dC", &Results::dC}, {"dD", &Results::dD},
                        {"dinitial", &Results::dinitial}};

// One token; a full chunk; a chunk and a token with odd widths; several chunks and groups.
const Shape kShapes[] = {{2, 1, 2, 3, 1, 5}, {1, 64, 4, 16, 2, 16}, {2, 65, 4, 17, 2, 19},
                         {1, 150, 3, 64, 1, 64}};

Case draw(const Shape& s, std::mt19937& engine) {
  std::normal_distribution<float> normal;
  std::uniform_real_distribution<float> uniform;
  auto normals = [&](int64_t count) {
    Floats values(static_cast<size_t>(count));
    for (float& value : values) value = normal(engine);
    return values;
  };
  const int64_t rows = s.batch * s.tokens, state = s.batch * s.heads * s.width * s.states;
  Case c{s, normals(rows * s.heads * s.width), normals(rows * s.heads), normals(s.heads),
         normals(rows * s.groups * s.states), normals(rows * s.groups * s.states),
         normals(s.heads * s.width), normals(state), normals(rows * s.heads * s.width),
         normals(state), std::vector<uint8_t>(static_cast<size_t>(rows))};
  for (float& step : c.dt) step = 0.4f * uniform(engine);
  for (float& decay : c.A) decay = -4 * uniform(engine);
  for (uint8_t& flag : c.fresh) flag = uniform(engine) < 0.03f;
  return c;
}

Results zeros(const Case& c) {
  auto of = [](const Floats& like) { return Doubles(like.size(), 0.0); };
  return {of(c.x), of(c.initial), of(c.x), of(c.dt), of(c.A), of(c.B), of(c.C), of(c.D),
          of(c.initial)};
}

// H_t = a_t H_{t-1} + dt B x^T, y = H^T C + D x, and its gradients, for one head.
void loop(const Case& c, int64_t b, int64_t h, Results& r) {
  const Shape& s = c.s;
  const size_t p = size_t(s.width), n = size_t(s.states), size = p * n;
  const size_t own = size_t(b * s.heads + h) * size, group = size_t(h / (s.heads / s.groups));
  auto row = [&](int64_t t) { return size_t(b * s.tokens + t); };
  auto head = [&](int64_t t) { return row(t) * size_t(s.heads) + size_t(h); };
  auto projection = [&](int64_t t) { return (row(t) * size_t(s.groups) + group) * n; };
  Doubles H(size_t(s.tokens + 1) * size), g(size);
  for (size_t i = 0; i < size; ++i) H[i] = c.initial[own + i], g[i] = c.dlast[own + i];
  auto decay = [&](int64_t t) {
    return c.fresh[row(t)] ? 0.0 : std::exp(double(c.dt[head(t)]) * double(c.A[size_t(h)]));
  };
  for (int64_t t = 0; t < s.tokens; ++t) {
    const double a = decay(t), step = c.dt[head(t)];
    const double* before = &H[size_t(t) * size];
    double* now = &H[size_t(t + 1) * size];
    for (size_t i = 0; i < p; ++i) {
      const double x = c.x[head(t) * p + i];
      double y = double(c.D[size_t(h) * p + i]) * x;
      for (size_t j = 0; j < n; ++j) {
        now[i * n + j] = a * before[i * n + j] + step * double(c.B[projection(t) + j]) * x;
        y += now[i * n + j] * double(c.C[projection(t) + j]);
      }
      r.y[head(t) * p + i] = y;
    }
  }
  for (size_t i = 0; i < size; ++i) r.last[own + i] = H[size_t(s.tokens) * size + i];
  for (int64_t t = s.tokens - 1; t >= 0; --t) {
    const double a = decay(t), step = c.dt[head(t)];
    const double *before = &H[size_t(t) * size], *now = &H[size_t(t + 1) * size];
    double remembered = 0, written = 0;
    for (size_t i = 0; i < p; ++i) {
      const double x = c.x[head(t) * p + i], dy = c.dy[head(t) * p + i];
      double dx = double(c.D[size_t(h) * p + i]) * dy;
      for (size_t j = 0; j < n; ++j) {
        const double B = c.B[projection(t) + j];
        double& dH = g[i * n + j];
        dH += dy * double(c.C[projection(t) + j]);
        r.dC[projection(t) + j] += dy * now[i * n + j];
        r.dB[projection(t) + j] += dH * step * x;
        remembered += dH * before[i * n + j];
        written += dH * B * x;
        dx += dH * step * B;
        dH *= a;
      }
      r.dx[head(t) * p + i] = dx;
      r.dD[size_t(h) * p + i] += dy * x;
    }
    r.ddt[head(t)] = written + double(c.A[size_t(h)]) * a * remembered;
    r.dA[size_t(h)] += step * a * remembered;
  }
  for (size_t i = 0; i < size; ++i) r.dinitial[own + i] = g[i];
}

// Sums `parts` arrays that lie one behind the other in blocks of the result's size.
void gather(const Floats& from, Doubles& to) {
  const size_t count = to.size();
  to.assign(count, 0.0);
  for (size_t i = 0; i < from.size(); ++i) to[i % count] += double(from[i]);
}

Results in_kernel(const Case& c) {
  const Shape& s = c.s;
  Results r = zeros(c);
  auto blank = [](size_t count) { return Floats(count, std::nanf("")); };
  const size_t chunks = size_t((s.tokens + unveil_ssd_chunk() - 1) / unveil_ssd_chunk());
  const size_t parts = size_t(s.batch) * chunks;
  Floats y = blank(r.y.size()), last = blank(r.last.size());
  Floats kept = blank(r.last.size() * chunks), after = blank(kept.size());
  unveil_ssd_forward(c.x.data(), c.dt.data(), c.A.data(), c.B.data(), c.C.data(), c.D.data(),
                     c.initial.data(), c.fresh.data(), y.data(), last.data(), kept.data(), s.batch,
                     s.tokens, s.heads, s.width, s.groups, s.states);
  Floats dx = blank(r.dx.size()), ddt = blank(r.ddt.size()), dA = blank(parts * r.dA.size());
  Floats dB = blank(r.dB.size()), dC = blank(r.dC.size()), dD = blank(parts * r.dD.size());
  Floats dinitial = blank(r.last.size());
  unveil_ssd_backward(c.x.data(), c.dt.data(), c.A.data(), c.B.data(), c.C.data(), c.D.data(),
                      c.fresh.data(), c.dy.data(), c.dlast.data(), kept.data(), after.data(),
                      dx.data(), ddt.data(), dA.data(), dB.data(), dC.data(), dD.data(),
                      dinitial.data(), s.batch, s.tokens, s.heads, s.width, s.groups, s.states);
  gather(y, r.y), gather(last, r.last), gather(dx, r.dx), gather(ddt, r.ddt), gather(dA, r.dA);
  gather(dB, r.dB), gather(dC, r.dC), gather(dD, r.dD), gather(dinitial, r.dinitial);
  return r;
}

double relative_error(const Doubles& found, const Doubles& expected) {
  double error = 0, size = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    error += (found[i] - expected[i]) * (found[i] - expected[i]);
    size += expected[i] * expected[i];
  }
  return std::sqrt(error / size);
}

}  // namespace

// Sums over 64 tokens and as many states in fp32.
bool check_ssd(const char* isa) {
  std::mt19937 engine(11);
  double worst[sizeof(kNamed) / sizeof(Named)] = {};
  bool good = true;
  for (const Shape& s : kShapes) {
    const Case c = draw(s, engine);
    Results expected = zeros(c);
    for (int64_t b = 0; b < s.batch; ++b) {
      for (int64_t h = 0; h < s.heads; ++h) loop(c, b, h, expected);
    }
    const Results found = in_kernel(c);
    for (size_t i = 0; i < sizeof(kNamed) / sizeof(Named); ++i) {
      const double error = relative_error(found.*kNamed[i].values, expected.*kNamed[i].values);
      if (!(error <= 5e-6)) {
        std::printf("%s: ssd: %s is off by %.2e at b %d, l %d, h %d, p %d, g %d, n %d\n", isa,
                    kNamed[i].name, error, int(s.batch), int(s.tokens), int(s.heads),
                    int(s.width), int(s.groups), int(s.states));
        good = false;
      }
      if (error > worst[i]) worst[i] = error;
    }
  }
  std::printf("%s: ssd: largest relative errors:", isa);
  for (size_t i = 0; i < sizeof(kNamed) / sizeof(Named); ++i) {
    std::printf(" %s %.1e", kNamed[i].name, worst[i]);
  }
  std::printf("\n");
  return good;
}
