/* Queries in whole numbers. */

#include "queries.h"

#include <math.h>
#include <string.h>

static const double STEPS = 63, SMALLEST = 1e-200;

__attribute__((target("avx2"))) static double round_query(const Rounding *rounding, const float *query, int8_t *steps) {
    double most = 0, length = 0, off = 0;
    for (size_t i = 0; i < rounding->d; i++) {
        double scaled = fabs((double)query[i] * rounding->scales[i]);
        most = scaled > most ? scaled : most;
    }
    const double unit = most / STEPS > SMALLEST ? most / STEPS : SMALLEST;
    for (size_t i = 0; i < rounding->d; i++) {
        double scaled = (double)query[i] * rounding->scales[i], step = rint(scaled / unit);
        double apart = scaled - step * unit;
        steps[i] = (int8_t)step;
        length += scaled * scaled;
        off += apart * apart;
    }
    const double each = rounding->most_off + rounding->rounding * (rounding->longest + rounding->most_off);
    return 2 * (1 + rounding->rounding) * (sqrt(off) * rounding->longest + sqrt(length) * each) / unit;
}

void round_queries(const Rounding *rounding, int8_t *steps, double *slack) {
    memset(steps, 0, rounding->b * rounding->quads * 4);
    for (size_t q = 0; q < rounding->b; q++)
        slack[q] = round_query(rounding, rounding->queries + q * rounding->d, steps + q * rounding->quads * 4);
}
