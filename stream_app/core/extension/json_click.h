/* Where the parts of a click lie in its JSON. */

#ifndef JSON_CLICK_H
#define JSON_CLICK_H

#include "passes.h"

/* A text within a record's value; of no bytes where there is none. */
typedef struct {
    uint32_t start, bytes;
} Span;

typedef struct {
    int64_t at_ms, dwell_ms; /* dwell -1: unknown */
    Span user, event, session, item, promotion, action;
} Parts;

/* Fields of stream_app.core.events.RawClick, in their order. */
enum {
    J_USER, J_TIMESTAMP, J_EVENT, J_SESSION, J_ITEM, J_ACTION, J_DWELL, J_PRICE, J_QUANTITY, J_QUERY,
    J_PROMOTION, J_DEVICE, J_IP, JSON_FIELDS
};

/* The names that the fields have in the input, and the limits of stream_app.core.clean. */
typedef struct {
    const char *names[JSON_FIELDS];
    Py_ssize_t name_bytes[JSON_FIELDS];
    int64_t latest_ms, dwell_limit_ms;
    Py_ssize_t id_limit;
} JsonForm;

/* 1 and the parts of a click that is written plainly: JSON without escapes and exponents, with a
   whole number as its time. 0 for anything else, be it right or wrong. */
int find_parts(const JsonForm *form, const char *value, Py_ssize_t bytes, Parts *parts);

#endif
