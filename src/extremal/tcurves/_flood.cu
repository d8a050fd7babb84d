// The batch evaluator of a GPU: one thread a sign vector, regions by flood fill on bit masks.
//
// The V copies of the glued complex are the bits of W 32-bit words, copy 32 w + s the bit
// 2^(31-s) of word w. A region grows from its first copy: take frontier copies, look up their
// neighbours, keep those of the same sign that nothing has reached. Copies are numbered so that
// each but the first has a neighbour with a smaller number, and the first unreached copy starts
// the next region: so the region of that neighbour is its parent in the tree of regions.
// Copies come in clusters of four neighbouring bits. A step takes the frontier copies of one
// cluster (of one kind, see below) at once, with what they are joined to inside it; the table of
// neighbours has a row for each subset of each cluster. One copy a step was measured 6 % slower at
// degree 7 (99 steps instead of 60, but a smaller table), 18 % at degree 8 and 42 % at degree 10.
//
// Twisted edges touch the first TW words only; what they do depends on the degree.
// Odd: they join opposite signs. A step takes copies of one sign. The root region meets itself
//   across the pseudo-line, which crosses every one-sided cycle: one short cycle is looked at.
// Even: they turn the side of a copy (its parity relative to the region's first copy). A step takes
//   copies of one side. A region that reaches a copy from both sides is the root.
// The hash of a tree depends on the sum of its subtrees' hashes, so their order does not matter.
//
// Cost at degree 7: a step is 110 instructions, 81 of them for the integer units, and a warp needs
// 60 to 64 steps until its last lane is done. An H100 has 132 * 64 such units at 1.98 GHz, so steps
// alone allow 3.3 10^9 vectors a second on cen; measured 3.0 10^9.
//
// This file is CUDA C++ and, with one thread of one block, plain C++: the tests run it on a CPU.
// Constants are defined in front of it: W, TW, COPIES, ODD, REGIONS (the most
// a curve can have), THREADS, BITS (of a sign vector's index), INPUTS (64-bit words a vector),
// PLACES (of a block's histogram, a power of two).

typedef unsigned int u32;
typedef unsigned long long u64;
typedef unsigned short u16;
typedef unsigned char u8;

#ifdef __CUDACC__
#define INSIDE __device__ __forceinline__
#define KERNEL extern "C" __global__ void __launch_bounds__(THREADS)
INSIDE int leading_zeros(u32 x) {  // x is not 0
    int found;
    asm("bfind.shiftamt.u32 %0, %1;" : "=r"(found) : "r"(x));
    return found;
}
extern __shared__ uint4 shared_memory[];
#else
#define INSIDE static inline
#define KERNEL extern "C" void
struct One { u32 x; };
static const One threadIdx = {0}, blockIdx = {0}, gridDim = {1};
static inline int leading_zeros(u32 x) { return __builtin_clz(x); }
static inline void __syncthreads() {}
static inline u64 atomicCAS(u64* at, u64 old, u64 value) {
    u64 found = *at;
    if (found == old) *at = value;
    return found;
}
template <class T> static inline T atomicAdd(T* at, T value) { T old = *at; *at += value; return old; }
static inline u64 atomicMin(u64* at, u64 value) { u64 old = *at; if (value < old) *at = value; return old; }
static u32 shared_memory[1 << 20] __attribute__((aligned(16)));
#endif

#define WORDS (W + TW)                      // of a row of the table: neighbours, twisted ones
#define ROWS (W * 8 * 16)                   // of the table: a cluster and a subset of it
#define QUADS (WORDS / 4)
#define REST (WORDS % 4 == 3 ? 4 : WORDS % 4)  // words of the part that is not quads
#define NIBBLES ((BITS + 3) / 4)
#define LABELS (W * 8)                      // words with a byte a copy
#define VALUES (2 * REGIONS)                // words with 8 bytes a region, over the labels
#define SEEDS (LABELS > VALUES ? LABELS : VALUES)
#define WORK (SEEDS + (REGIONS + 1) / 2)    // words of a thread
#define NONE 0xffffffffffffffffull

#define TABLE_WORDS (ROWS * (4 * QUADS + REST))
#define SIGN_WORDS ((NIBBLES * 16 + 1) * W)
#define BEFORE_WORDS (W * 16)
#define CLOSURE_WORDS (W * 512)
#define QUAD(n) (((n) + 3) / 4 * 4)        // of 16 bytes

INSIDE u64 mix(u64 x) {
    x += 0x9E3779B97F4A7C15ull;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
    return x ^ (x >> 31);
}

// The read-only tables of a triangulation, in shared memory.
struct Tables {
    const u32* rows;    // quads of all rows, then the rest of all rows
    const u32* signs;   // what to turn for each value of each four bits of an index; then the base
    const u16* before;  // for each copy a neighbour with a smaller number
    const u8* closures; // for each cluster, open and begun copies of it: what a step takes
    const u32* cycle;   // copies on a one-sided cycle, times 2, plus the twist of the edge to the next
    int cycle_length;
};

INSIDE void neighbours(const u32* rows, u32 row, u32 (&a)[WORDS + 3]) {
#ifdef __CUDACC__
#pragma unroll
    for (int q = 0; q < QUADS; q++) {
        uint4 four = reinterpret_cast<const uint4*>(rows)[q * ROWS + row];
        a[4 * q] = four.x; a[4 * q + 1] = four.y; a[4 * q + 2] = four.z; a[4 * q + 3] = four.w;
    }
    const u32* rest = rows + QUADS * 4 * ROWS;
    if (REST == 4) {
        uint4 four = reinterpret_cast<const uint4*>(rest)[row];
        a[4 * QUADS] = four.x; a[4 * QUADS + 1] = four.y; a[4 * QUADS + 2] = four.z;
    } else if (REST == 2) {
        uint2 two = reinterpret_cast<const uint2*>(rest)[row];
        a[4 * QUADS] = two.x; a[4 * QUADS + 1] = two.y;
    } else if (REST == 1) {
        a[4 * QUADS] = rest[row];
    }
#else
    for (int k = 0; k < WORDS; k++)
        a[k] = k < 4 * QUADS ? rows[((k / 4) * ROWS + row) * 4 + k % 4]
                             : rows[QUADS * 4 * ROWS + row * REST + k - 4 * QUADS];
#endif
}

#define WORK_AT(i) work[(i) * THREADS]
#define BYTE_AT(i, byte) reinterpret_cast<u8*>(&WORK_AT(i))[byte]
#define SEED_AT(r) reinterpret_cast<u16*>(&WORK_AT(SEEDS + ((r) >> 1)))[(r) & 1]
#define LABEL_OF(v) BYTE_AT((v) >> 2, ((v) & 3) ^ 3)

INSIDE void put_value(u32* work, int r, u64 value) {
    WORK_AT(2 * r) = (u32)value;
    WORK_AT(2 * r + 1) = (u32)(value >> 32);
}

INSIDE u64 value_at(const u32* work, int r) {
    return WORK_AT(2 * r) | (u64)WORK_AT(2 * r + 1) << 32;
}

// Returns the hash of the tree of regions, 0 if it has more than REGIONS (which no curve has).
// `work` is the thread's own part of shared memory, word i at work[i * THREADS].
INSIDE u64 tree_hash(const u32 (&signs)[W], const Tables& t, u32* work, u32& steps) {
    u32 frontier[W], left[W], side[W];
#pragma unroll
    for (int w = 0; w < W; w++) {
        frontier[w] = side[w] = 0;
        int here = COPIES - 32 * w;
        left[w] = here >= 32 ? 0xffffffffu : here <= 0 ? 0 : ~(0xffffffffu >> here);
    }
#pragma unroll
    for (int k = 0; k < LABELS; k++) WORK_AT(k) = 0;
    int regions = 0, root = -1;
    u32 same = 0;
    for (;;) {
        u32 any = 0;
#pragma unroll
        for (int w = 0; w < W; w++) any |= frontier[w];
        bool fresh = any == 0;
        u32 x = fresh ? left[W - 1] : frontier[W - 1], sign = signs[W - 1], turned = side[W - 1];
        u32 unreached = left[W - 1];
        int at = W - 1;
#pragma unroll
        for (int w = W - 2; w >= 0; w--) {
            u32 y = fresh ? left[w] : frontier[w];
            if (y) { x = y; sign = signs[w]; turned = side[w]; unreached = left[w]; at = w; }
        }
        if (x == 0) break;
        int shift = leading_zeros(x);
        u32 bit = 0x80000000u >> shift;
        // `same` is 0 or all ones: the sign of the region here; `over` the same for its side
        u32 over = 0;
        if (ODD) {
            same = (u32)((int)(sign << shift) >> 31);
        } else {
            if (fresh) same = (u32)((int)(sign << shift) >> 31);
            over = (u32)((int)(turned << shift) >> 31);
        }
        int low = 28 - (shift & 28);
        // what may be taken: copies in the frontier, or unreached, that are of the same kind
        u32 begun = (fresh ? bit : x) & ~(ODD ? sign ^ same : turned ^ over);
        u32 open = ODD ? (x | unreached) & ~(sign ^ same)
                       : begun | (unreached & ~(sign ^ same));
        u32 cluster = at * 8 + (shift >> 2);
        u32 subset = t.closures[(cluster * 16 + ((open >> low) & 15)) * 16 + ((begun >> low) & 15)];
        u32 taking = subset << low;
        u32 row = cluster * 16 + subset;
        regions += fresh;
        u32 a[WORDS + 3];
        neighbours(t.rows, row, a);
        u32 conflict = 0;
#pragma unroll
        for (int w = 0; w < W; w++) {
            u32 alike = ~(signs[w] ^ same);
            u32 found = a[w] & alike;
            if (w < TW) found |= ODD ? a[W + w] & ~alike : a[W + w] & alike;
            u32 taken_here = at == w ? taking : 0;
            left[w] &= ~taken_here;
            u32 fresh_ones = found & left[w];
            frontier[w] = (frontier[w] & ~taken_here) | fresh_ones;
            left[w] &= ~fresh_ones;
            if (!ODD) {
                side[w] |= taken_here & over;
                if (w < TW) {
                    side[w] |= fresh_ones & ((a[w] & over) | (a[W + w] & ~over));
                    u32 other = side[w] ^ over;
                    conflict |= alike & ((a[w] & other) | (a[W + w] & ~other));
                } else {
                    side[w] |= fresh_ones & over;
                    conflict |= found & (side[w] ^ over);
                }
            }
        }
        if (!ODD && conflict) root = regions - 1;
        u32 label = 2 * (regions - 1) + (same & 1);
        // the label goes to the bytes of the copies taken
        WORK_AT(row >> 4) += label * (((row & 15) * 0x00204081u) & 0x01010101u);
        if (fresh && regions <= REGIONS) SEED_AT(regions - 1) = (u16)(at * 32 + shift);
        steps += 1;
    }
    if (regions > REGIONS) return 0;
    if (ODD) {
        u32 last = t.cycle[t.cycle_length - 1], before = LABEL_OF(last >> 1);
        for (int k = 0; k < t.cycle_length; k++) {
            u32 here = t.cycle[k], label = LABEL_OF(here >> 1);
            if ((before ^ label) == (~last & 1)) root = (int)(label >> 1);
            before = label;
            last = here;
        }
    }
    for (int r = 1; r < regions; r++) SEED_AT(r) = LABEL_OF(t.before[SEED_AT(r)]) >> 1;
    for (int r = 0; r < regions; r++) put_value(work, r, 0);
    // Region 0 is on top of this tree. The path from it to the root is turned round at the end.
    u64 path = 0;
    int next = root;
    for (int r = regions - 1; r > 0; r--) {
        int parent = SEED_AT(r);
        if (r == next) {
            path = path << 8 | (u64)r;
            next = parent;
        } else {
            put_value(work, parent, value_at(work, parent) + mix(value_at(work, r)));
        }
    }
    if (path >> 56) return 0;  // nests of depth over 7: no degree that fits here has them
    u64 value = value_at(work, 0);
    for (; path; path >>= 8) value = value_at(work, (int)(path & 255)) + mix(value);
    value = mix(value);
    return value ? value : 1;  // 0 marks an empty place
}

// The table of all schemes in device memory: open addressing by hash.
struct Found {
    u64* hashes;
    u64* counts;
    u64* first;
    u32* failed;
    u32 mask;
};

INSIDE void add_globally(const Found& f, u64 hash, u64 count, u64 first) {
    u32 at = (u32)hash & f.mask;
    for (u32 tries = 0; tries <= f.mask; tries++) {
        u64 old = *(volatile u64*)&f.hashes[at];
        if (old == 0) {
            old = atomicCAS(&f.hashes[at], 0, hash);
            if (old == 0) old = hash;
        }
        if (old == hash) {
            atomicAdd(&f.counts[at], count);
            if (first < *(volatile u64*)&f.first[at]) atomicMin(&f.first[at], first);
            return;
        }
        at = (at + 1) & f.mask;
    }
    *f.failed = 2;
}

// A block's own table, in shared memory; what finds no place in it goes to the other one at once.
struct Local {
    u64* hashes;
    u64* first;
    u32* counts;
};

INSIDE void add_locally(const Local& l, const Found& f, u64 hash, u64 first) {
    u32 at = (u32)(hash >> 32) & (PLACES - 1);
    for (int tries = 0; tries < 8; tries++) {
        u64 old = *(volatile u64*)&l.hashes[at];
        if (old == 0) {
            old = atomicCAS(&l.hashes[at], 0, hash);
            if (old == 0) old = hash;
        }
        if (old == hash) {
            atomicAdd(&l.counts[at], 1u);
            if (first < *(volatile u64*)&l.first[at]) atomicMin(&l.first[at], first);
            return;
        }
        at = (at + 1) & (PLACES - 1);
    }
    add_globally(f, hash, 1, first);
}

INSIDE void signs_of(const u64 (&index)[INPUTS], const Tables& t, u32 (&signs)[W]) {
#pragma unroll
    for (int w = 0; w < W; w++) signs[w] = t.signs[NIBBLES * 16 * W + w];
#pragma unroll
    for (int k = 0; k < NIBBLES; k++) {
        u32 value = (u32)(index[k / 16] >> (4 * (k % 16))) & 15;
        const u32* turned = t.signs + (k * 16 + value) * W;
#pragma unroll
        for (int w = 0; w < W; w++) signs[w] ^= turned[w];
    }
}

#define SHARED_WORDS (QUAD(TABLE_WORDS) + 5 * PLACES + QUAD(SIGN_WORDS) + QUAD(BEFORE_WORDS) + \
                      CLOSURE_WORDS + QUAD(cycle_length) + WORK * THREADS)

INSIDE void copy(u32* to, const u32* from, int words) {
    for (int k = threadIdx.x; k < words; k += THREADS) to[k] = from[k];
}

#define PREPARE                                                                                    \
    u32* at = (u32*)shared_memory;                                                                 \
    u32* rows = at; at += QUAD(TABLE_WORDS);                                                       \
    Local local = {(u64*)at, (u64*)at + PLACES, at + 4 * PLACES}; at += 5 * PLACES;                \
    u32* sign_table = at; at += QUAD(SIGN_WORDS);                                                  \
    u32* before = at; at += QUAD(BEFORE_WORDS);                                                    \
    u32* closures = at; at += CLOSURE_WORDS;                                                       \
    u32* cycle = at; at += QUAD(cycle_length);                                                     \
    u32* work = at + threadIdx.x;                                                                  \
    copy(rows, row_table, TABLE_WORDS);                                                            \
    copy(sign_table, signs, SIGN_WORDS);                                                           \
    copy(before, before_table, BEFORE_WORDS);                                                      \
    copy(closures, closure_table, CLOSURE_WORDS);                                                  \
    copy(cycle, cycle_table, cycle_length);                                                        \
    for (int k = threadIdx.x; k < PLACES; k += THREADS) {                                          \
        local.hashes[k] = 0; local.first[k] = NONE; local.counts[k] = 0;                           \
    }                                                                                              \
    __syncthreads();                                                                               \
    Tables tables = {rows, sign_table, (const u16*)before, (const u8*)closures, cycle, cycle_length};                   \
    Found found = {hashes, counts, first_of, failed, mask};                                        \
    u32 steps = 0;

#define FINISH                                                                                     \
    __syncthreads();                                                                               \
    for (int k = threadIdx.x; k < PLACES; k += THREADS)                                            \
        if (local.hashes[k]) add_globally(found, local.hashes[k], local.counts[k], local.first[k]);

#define TABLES                                                                                     \
    const u32 *row_table, const u32 *signs, const u32 *before_table, const u32 *closure_table,     \
        const u32 *cycle_table, int cycle_length
#define RESULTS u64 *hashes, u64 *counts, u64 *first_of, u32 *failed, u32 mask

// All sign vectors whose free signs are the bits of first .. last-1.
KERNEL of_range(TABLES, u64 first, u64 last, RESULTS) {
    PREPARE
    for (u64 k = first + blockIdx.x * (u64)THREADS + threadIdx.x; k < last;
         k += gridDim.x * (u64)THREADS) {
        u64 index[INPUTS] = {k};
        u32 here[W];
        signs_of(index, tables, here);
        u64 hash = tree_hash(here, tables, work, steps);
        if (hash) add_locally(local, found, hash, k);
        else *failed = 1;
    }
    FINISH
}

// `count` sign vectors, packed; their hashes are written to `names`. The first is number `offset`.
KERNEL of_batch(TABLES, const u64* packed, u64* names, u64 count, u64 offset, RESULTS) {
    PREPARE
    for (u64 k = blockIdx.x * (u64)THREADS + threadIdx.x; k < count; k += gridDim.x * (u64)THREADS) {
        u64 index[INPUTS];
#pragma unroll
        for (int w = 0; w < INPUTS; w++) index[w] = packed[k * INPUTS + w];
        u32 here[W];
        signs_of(index, tables, here);
        u64 hash = tree_hash(here, tables, work, steps);
        names[k] = hash;
        if (hash) add_locally(local, found, hash, offset + k);
        else *failed = 1;
    }
    FINISH
}

// Rows of BITS zeros and ones as words, the first sign in the lowest bit; other values are told of.
KERNEL pack(const u8* signs, u64* packed, u64 count, u32* failed) {
    for (u64 k = blockIdx.x * (u64)THREADS + threadIdx.x; k < count; k += gridDim.x * (u64)THREADS)
        for (int w = 0; w < INPUTS; w++) {
            u64 word = 0;
            u32 all = 0;
            for (int j = 64 * w; j < BITS && j < 64 * w + 64; j++) {
                u32 sign = signs[k * BITS + j];
                all |= sign;
                word |= (u64)(sign & 1) << (j - 64 * w);
            }
            packed[k * INPUTS + w] = word;
            if (all > 1) *failed = 3;
        }
}

// The number of each hash's scheme, from the place that the hash has in the table.
KERNEL numbers(const u64* names, u64 count, const u64* hashes, u32 mask, const int* number, int* out) {
    for (u64 k = blockIdx.x * (u64)THREADS + threadIdx.x; k < count; k += gridDim.x * (u64)THREADS) {
        u32 at = (u32)names[k] & mask;
        while (hashes[at] != names[k]) at = (at + 1) & mask;
        out[k] = number[at];
    }
}
