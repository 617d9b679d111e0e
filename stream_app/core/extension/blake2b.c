/* BLAKE2b with a key, a digest size and a personal string, as hashlib has it (RFC 7693). */

#include "passes.h"

#define BLOCK_BYTES 128

static const uint64_t IV[8] = {
    0x6A09E667F3BCC908, 0xBB67AE8584CAA73B, 0x3C6EF372FE94F82B, 0xA54FF53A5F1D36F1,
    0x510E527FADE682D1, 0x9B05688C2B3E6C1F, 0x1F83D9ABFB41BD6B, 0x5BE0CD19137E2179,
};
static const uint8_t SIGMA[12][16] = {
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
    {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
    {11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4},
    {7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8},
    {9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13},
    {2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9},
    {12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11},
    {13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10},
    {6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5},
    {10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0},
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
    {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
};

static inline uint64_t turned(uint64_t word, int bits) {
    return (word >> bits) | (word << (64 - bits));
}

#define G(r, i, a, b, c, d)                                                                       \
    do {                                                                                          \
        a += b + m[SIGMA[r][2 * i]];                                                              \
        d = turned(d ^ a, 32);                                                                    \
        c += d;                                                                                   \
        b = turned(b ^ c, 24);                                                                    \
        a += b + m[SIGMA[r][2 * i + 1]];                                                          \
        d = turned(d ^ a, 16);                                                                    \
        c += d;                                                                                   \
        b = turned(b ^ c, 63);                                                                    \
    } while (0)
#define ROUND(r)                                                                                  \
    do {                                                                                          \
        G(r, 0, v[0], v[4], v[8], v[12]);                                                         \
        G(r, 1, v[1], v[5], v[9], v[13]);                                                         \
        G(r, 2, v[2], v[6], v[10], v[14]);                                                        \
        G(r, 3, v[3], v[7], v[11], v[15]);                                                        \
        G(r, 4, v[0], v[5], v[10], v[15]);                                                        \
        G(r, 5, v[1], v[6], v[11], v[12]);                                                        \
        G(r, 6, v[2], v[7], v[8], v[13]);                                                         \
        G(r, 7, v[3], v[4], v[9], v[14]);                                                         \
    } while (0)

static void compress(uint64_t h[8], const uint8_t block[BLOCK_BYTES], uint64_t seen, int is_last) {
    uint64_t m[16], v[16];
    memcpy(m, block, sizeof m);
    memcpy(v, h, 8 * sizeof *h);
    memcpy(v + 8, IV, sizeof IV);
    v[12] ^= seen;
    if (is_last) v[14] = ~v[14];
    ROUND(0);
    ROUND(1);
    ROUND(2);
    ROUND(3);
    ROUND(4);
    ROUND(5);
    ROUND(6);
    ROUND(7);
    ROUND(8);
    ROUND(9);
    ROUND(10);
    ROUND(11);
    for (int i = 0; i < 8; i++) h[i] ^= v[i] ^ v[i + 8];
}

void keyed_digest(const Keyed *keyed, const char *text, size_t bytes, uint8_t digest[DIGEST_BYTES]) {
    uint64_t h[8], seen = BLOCK_BYTES;
    uint8_t block[BLOCK_BYTES];
    memcpy(h, keyed->h, sizeof h);
    while (bytes > BLOCK_BYTES) {
        seen += BLOCK_BYTES;
        compress(h, (const uint8_t *)text, seen, 0);
        text += BLOCK_BYTES;
        bytes -= BLOCK_BYTES;
    }
    memset(block, 0, sizeof block);
    memcpy(block, text, bytes);
    compress(h, block, seen + bytes, 1);
    memcpy(digest, h, DIGEST_BYTES);
}

const Keyed *keyed_of(PyObject *held) {
    if (!PyBytes_Check(held) || PyBytes_GET_SIZE(held) != sizeof(Keyed)) {
        PyErr_SetString(PyExc_TypeError, "not the result of keyed()");
        return NULL;
    }
    return (const Keyed *)PyBytes_AS_STRING(held);
}

/* keyed(key, digest bytes, person) -> bytes: what messages that are not empty are hashed with. */
PyObject *new_keyed(PyObject *module, PyObject *args) {
    const char *key, *person;
    Py_ssize_t key_bytes, person_bytes;
    int digest_bytes;
    (void)module;
    if (!PyArg_ParseTuple(args, "y#iy#", &key, &key_bytes, &digest_bytes, &person, &person_bytes))
        return NULL;
    if (key_bytes < 1 || key_bytes > 64 || digest_bytes < 1 || digest_bytes > DIGEST_BYTES ||
        person_bytes > 16) {
        PyErr_SetString(PyExc_ValueError, "a key of 1 to 64, a person of up to 16 bytes");
        return NULL;
    }
    Keyed keyed;
    uint64_t parameters[8] = {0};
    uint8_t block[BLOCK_BYTES] = {0};
    parameters[0] = (uint64_t)digest_bytes | (uint64_t)key_bytes << 8 | 1u << 16 | 1u << 24;
    memcpy(parameters + 6, person, (size_t)person_bytes);
    for (int i = 0; i < 8; i++) keyed.h[i] = IV[i] ^ parameters[i];
    memcpy(block, key, (size_t)key_bytes);
    compress(keyed.h, block, BLOCK_BYTES, 0);
    return PyBytes_FromStringAndSize((const char *)&keyed, sizeof keyed);
}

/* digest(keyed, message, bytes) -> bytes */
PyObject *digest_with(PyObject *module, PyObject *args) {
    PyObject *held;
    const char *message;
    Py_ssize_t bytes;
    int size;
    uint8_t digest[DIGEST_BYTES];
    (void)module;
    if (!PyArg_ParseTuple(args, "Oy#i", &held, &message, &bytes, &size)) return NULL;
    const Keyed *keyed = keyed_of(held);
    if (keyed == NULL) return NULL;
    if (bytes < 1 || size < 1 || size > DIGEST_BYTES) {
        PyErr_SetString(PyExc_ValueError, "an empty message or a size out of range");
        return NULL;
    }
    keyed_digest(keyed, message, (size_t)bytes, digest);
    return PyBytes_FromStringAndSize((const char *)digest, size);
}
