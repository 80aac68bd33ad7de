/* Adamax's update of float32 weights, and the check of gradients before it, each in one pass. See fused_adamax.py. */

#include <math.h>
#include <stdint.h>

enum { BLOCK = 16384 }; /* numbers that a thread works on at a time */

#ifdef FP_FAST_FMAF /* PyTorch's lerp rounds once where the processor can */
#define MULTIPLY_ADD(a, b, c) fmaf(a, b, c)
#else
#define MULTIPLY_ADD(a, b, c) ((a) * (b) + (c))
#endif

int all_finite(int64_t count, const int64_t *sizes, const uint32_t *const *tensors, int threads) {
    int found = 0;
#pragma omp parallel num_threads(threads) reduction(| : found)
    for (int64_t k = 0; k < count; k++) {
        const uint32_t *bits = tensors[k];
        const int64_t size = sizes[k], blocks = (size + BLOCK - 1) / BLOCK;
#pragma omp for schedule(static) nowait
        for (int64_t block = 0; block < blocks; block++) {
            const int64_t end = block + 1 < blocks ? (block + 1) * BLOCK : size;
            uint32_t most = 0; /* of the bits without the sign: infinity's and those of what is not a number are last */
            for (int64_t i = block * BLOCK; i < end; i++) {
                const uint32_t each = bits[i] & 0x7fffffffu;
                most = each > most ? each : most;
            }
            found |= most >= 0x7f800000u;
        }
    }
    return !found;
}

void adamax(int64_t count, const int64_t *sizes, float *const *weights, const float *const *gradients,
            float *const *averages, float *const *norms, const double *rates, float share, float beta2, float eps,
            float scale, int threads) {
#pragma omp parallel num_threads(threads)
    for (int64_t k = 0; k < count; k++) {
        float *weight = weights[k], *average = averages[k], *norm = norms[k];
        const float *gradient = gradients[k];
        const float rate = (float)-rates[k];
        const int64_t size = sizes[k], blocks = (size + BLOCK - 1) / BLOCK;
#pragma omp for schedule(static) nowait
        for (int64_t block = 0; block < blocks; block++) {
            const int64_t end = block + 1 < blocks ? (block + 1) * BLOCK : size;
#pragma omp simd
            for (int64_t i = block * BLOCK; i < end; i++) {
                const float g = gradient[i] * scale, a = fabsf(g) + eps, b = norm[i] * beta2;
                const float u = a > b ? a : b; /* in this order, a norm that is not a number stays one */
                const float m = MULTIPLY_ADD(share, g - average[i], average[i]);
                average[i] = m;
                norm[i] = u;
                weight[i] += rate * m / u;
            }
        }
    }
}
