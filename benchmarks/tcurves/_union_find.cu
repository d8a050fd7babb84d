// The peer of gpu.py: a union-find with parity in each thread's own memory.
//
// The plain way to put the algorithm of `scheme` on a GPU: unite along monochromatic edges, number
// the regions, join touching ones in 64-bit masks, walk the tree from the root, hash it from the
// leaves up. Every vector goes to the table in device memory. An edge has six numbers: its ends,
// twist, difference, and its ends' points. COPIES, POINTS, EDGES, ODD are defined in front of it.

typedef unsigned int u32;
typedef unsigned long long u64;
typedef unsigned short u16;
typedef unsigned char u8;

#define WORDS ((POINTS + 63) / 64)

__device__ u64 mix(u64 x) {
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
    return x ^ (x >> 31);
}

__device__ bool same(const u64* signs, const int* e) {
    u64 p = signs[e[4] >> 6] >> (e[4] & 63), q = signs[e[5] >> 6] >> (e[5] & 63);
    return ((p ^ q) & 1) == (u64)e[3];
}

__device__ u64 tree_hash(const u64* signs, const int* edges) {
    u16 leader[COPIES];
    u8 name[COPIES];
    u64 beside[64], value[64];
    signed char above[64], order[64];
    int root = -1;
    for (int u = 0; u < COPIES; u++) leader[u] = u << 1;
    for (int k = 0; k < EDGES; k++) {
        const int* e = edges + 6 * k;
        if (!same(signs, e)) continue;
        int a = e[0], b = e[1], x = 0, y = 0;
        while (leader[a] >> 1 != a) { x ^= leader[a] & 1; a = leader[a] >> 1; }
        while (leader[b] >> 1 != b) { y ^= leader[b] & 1; b = leader[b] >> 1; }
        int turned = (x ^ y ^ e[2]) & 1;
        if (a == b) {
            if (turned && !ODD) root = a;
        } else if (a < b) {
            leader[b] = a << 1 | turned;
        } else {
            leader[a] = b << 1 | turned;
        }
    }
    int regions = 0;
    for (int u = 0; u < COPIES; u++) {  // leaders only get smaller, so theirs are named already
        int a = leader[u] >> 1;
        if (a == u) {
            name[u] = regions;
            beside[regions++] = 0;
        } else {
            name[u] = name[a];
        }
    }
    int top = root >= 0 ? name[root] : -1;
    for (int k = 0; k < EDGES; k++) {
        const int* e = edges + 6 * k;
        if (same(signs, e)) continue;
        int a = name[e[0]], b = name[e[1]];
        if (a == b) {
            top = a;
        } else {
            beside[a] |= 1ull << b;
            beside[b] |= 1ull << a;
        }
    }
    order[0] = top;
    above[top] = -1;
    int filled = 1;
    for (int k = 0; k < regions; k++) {
        int a = order[k];
        value[a] = 0;
        for (int b = 0; b < regions; b++)
            if (beside[a] >> b & 1 && b != above[a]) {
                above[b] = a;
                order[filled++] = b;
            }
    }
    for (int k = regions - 1; k > 0; k--) {
        int a = order[k];
        value[above[a]] += mix(value[a] + 0x9E3779B97F4A7C15ull);
    }
    return mix(value[top] + 0x9E3779B97F4A7C15ull);
}

extern "C" __global__ void of_range(u64 last, const u64* fixed, const int* free_points, int free_count,
                                    const int* edges, u64* keys, u64* counts, u64* first, u32 mask) {
    for (u64 k = blockIdx.x * (u64)blockDim.x + threadIdx.x; k < last;
         k += gridDim.x * (u64)blockDim.x) {
        u64 signs[WORDS];
        for (int w = 0; w < WORDS; w++) signs[w] = fixed[w];
        for (int j = 0; j < free_count; j++)
            signs[free_points[j] >> 6] |= (k >> j & 1) << (free_points[j] & 63);
        u64 hash = tree_hash(signs, edges);
        u32 at = (u32)hash & mask;
        for (;;) {
            u64 old = atomicCAS(&keys[at], 0ull, hash);
            if (old == 0 || old == hash) break;
            at = (at + 1) & mask;
        }
        atomicAdd(&counts[at], 1ull);
        if (k < first[at]) atomicMin(&first[at], k);
    }
}
