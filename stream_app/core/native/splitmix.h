/* The bits that chance is drawn from, here and in stream_app.core.calibration.mix. */

#ifndef SPLITMIX_H
#define SPLITMIX_H

#include <stdint.h>

/* splitmix64 (Steele et al. 2014) */
static inline uint64_t mix(uint64_t value)
{
    value += 0x9E3779B97F4A7C15u;
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9u;
    value = (value ^ (value >> 27)) * 0x94D049BB133111EBu;
    return value ^ (value >> 31);
}

#endif
