/* Products of a tile of rows with some queries, for two kinds of processors. */

#include "scan.h"

#include <immintrin.h>
#include <string.h>

enum { AHEAD = 4 }; /* tiles that are fetched from memory meanwhile */

#define VNNI "avx512f,avx512bw,avx512vnni"

/* A tile with so many queries, which the compiler knows. It would copy sums from register to register, were the
 * instruction not written out. */
__attribute__((target(VNNI), always_inline)) static inline void tile_vnni(Part *part, size_t tile, size_t query,
                                                                         const size_t queries) {
    const size_t quads = part->scan->quads;
    const uint8_t *rows = part->scan->rows + tile * quads * TILE * 4;
    const int8_t *with = part->scan->queries + query * quads * 4;
    __m512i sums[TOGETHER][VECTORS];
    for (size_t q = 0; q < queries; q++)
        for (size_t v = 0; v < VECTORS; v++) sums[q][v] = _mm512_setzero_si512();
    for (size_t quad = 0; quad < quads; quad++) {
        __m512i four[VECTORS];
        for (size_t v = 0; v < VECTORS; v++) four[v] = _mm512_loadu_si512(rows + (v * quads + quad) * LANES * 4);
        if (!query)
            for (size_t v = 0; v < VECTORS; v++)
                _mm_prefetch(rows + (AHEAD * VECTORS * quads + v * quads + quad) * LANES * 4, _MM_HINT_T0);
        for (size_t q = 0; q < queries; q++) {
            int32_t numbers;
            memcpy(&numbers, with + (q * quads + quad) * 4, 4);
            __m512i all = _mm512_set1_epi32(numbers);
            for (size_t v = 0; v < VECTORS; v++)
                __asm__("vpdpbusd %2, %1, %0" : "+v"(sums[q][v]) : "v"(four[v]), "v"(all));
        }
    }
    for (size_t q = 0; q < queries; q++) {
        __m512i bound = _mm512_set1_epi32(part->kept[query + q].bound);
        uint64_t reaching = 0;
        for (size_t v = 0; v < VECTORS; v++)
            reaching |= (uint64_t)_mm512_cmpge_epi32_mask(sums[q][v], bound) << (v * LANES);
        if (!reaching) continue;
        int32_t scores[TILE];
        for (size_t v = 0; v < VECTORS; v++) _mm512_storeu_si512(scores + v * LANES, sums[q][v]);
        keep(part, query + q, tile, scores, reaching);
    }
}

__attribute__((target(VNNI))) void pass_vnni(Part *part, size_t first, size_t last) {
    const size_t b = part->scan->b;
    for (size_t query = 0; query < b; query += TOGETHER)
        for (size_t tile = first; tile < last; tile++)
            switch (b - query) {
            case 1: tile_vnni(part, tile, query, 1); break;
            case 2: tile_vnni(part, tile, query, 2); break;
            case 3: tile_vnni(part, tile, query, 3); break;
            default: tile_vnni(part, tile, query, TOGETHER);
            }
}

/* One of the vectors of a tile with so many queries. */
__attribute__((target("avx2"), always_inline)) static inline void
vector_avx2(const Scan *scan, const uint8_t *rows, const int8_t *with, const size_t queries, int32_t *scores) {
    const __m256i ones = _mm256_set1_epi16(1);
    __m256i sums[TOGETHER][2];
    for (size_t q = 0; q < queries; q++) sums[q][0] = sums[q][1] = _mm256_setzero_si256();
    for (size_t quad = 0; quad < scan->quads; quad++)
        for (size_t half = 0; half < 2; half++) {
            __m256i four = _mm256_loadu_si256((const __m256i *)(rows + quad * LANES * 4 + half * 32));
            for (size_t q = 0; q < queries; q++) {
                int32_t numbers;
                memcpy(&numbers, with + (q * scan->quads + quad) * 4, 4);
                __m256i pairs = _mm256_maddubs_epi16(four, _mm256_set1_epi32(numbers));
                sums[q][half] = _mm256_add_epi32(sums[q][half], _mm256_madd_epi16(pairs, ones));
            }
        }
    for (size_t q = 0; q < queries; q++)
        for (size_t half = 0; half < 2; half++) _mm256_storeu_si256((__m256i *)(scores + q * TILE + half * 8), sums[q][half]);
}

__attribute__((target("avx2"), always_inline)) static inline void tile_avx2(Part *part, size_t tile, size_t query,
                                                                           const size_t queries) {
    const Scan *scan = part->scan;
    const uint8_t *rows = scan->rows + tile * scan->quads * TILE * 4;
    int32_t scores[TOGETHER][TILE];
    for (size_t v = 0; v < VECTORS; v++)
        vector_avx2(scan, rows + v * scan->quads * LANES * 4, scan->queries + query * scan->quads * 4, queries,
                    scores[0] + v * LANES);
    for (size_t q = 0; q < queries; q++) {
        const int32_t bound = part->kept[query + q].bound;
        uint64_t reaching = 0;
        for (size_t place = 0; place < TILE; place++) reaching |= (uint64_t)(scores[q][place] >= bound) << place;
        if (reaching) keep(part, query + q, tile, scores[q], reaching);
    }
}

__attribute__((target("avx2"))) void pass_avx2(Part *part, size_t first, size_t last) {
    const size_t b = part->scan->b;
    for (size_t query = 0; query < b; query += TOGETHER)
        for (size_t tile = first; tile < last; tile++)
            switch (b - query) {
            case 1: tile_avx2(part, tile, query, 1); break;
            case 2: tile_avx2(part, tile, query, 2); break;
            case 3: tile_avx2(part, tile, query, 3); break;
            default: tile_avx2(part, tile, query, TOGETHER);
            }
}
