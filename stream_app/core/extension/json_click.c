/* The JSON of a click that is written plainly. What this says of a record is what msgspec and
   stream_app.core.clean say of it; whatever is in doubt is left to them. */

#include "json_click.h"

#define MOST_LEVELS 16
#define MOST_WHOLE_DIGITS 18 /* fit 64 bits */
#define MOST_DIGITS 15       /* a float64 holds so many: its whole part is theirs */

typedef struct {
    const char *at, *end;
} Text;

typedef struct {
    int64_t whole; /* of its magnitude */
    int is_negative, has_fraction;
} Number;

static void skip_blanks(Text *text) {
    while (text->at < text->end &&
           (*text->at == ' ' || *text->at == '\n' || *text->at == '\t' || *text->at == '\r'))
        text->at++;
}

static int take(Text *text, char wanted) {
    if (text->at == text->end || *text->at != wanted) return 0;
    text->at++;
    return 1;
}

static int take_word(Text *text, const char *word) {
    size_t bytes = strlen(word);
    if ((size_t)(text->end - text->at) < bytes || memcmp(text->at, word, bytes) != 0) return 0;
    text->at += bytes;
    return 1;
}

/* Bytes of the character beyond ASCII that begins here; 0 where it is no UTF-8. */
static int wide_bytes(const uint8_t *at, const uint8_t *end) {
    uint8_t first = at[0], low = 0x80, high = 0xBF;
    int bytes = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
    if (first < 0xC2 || first > 0xF4 || end - at < bytes) return 0;
    if (first == 0xE0) low = 0xA0;
    if (first == 0xED) high = 0x9F;
    if (first == 0xF0) low = 0x90;
    if (first == 0xF4) high = 0x8F;
    if (at[1] < low || at[1] > high) return 0;
    for (int n = 2; n < bytes; n++)
        if (at[n] < 0x80 || at[n] > 0xBF) return 0;
    return bytes;
}

/* A string without escapes and control characters. */
static int take_text(Text *text, const char **start, Py_ssize_t *bytes) {
    if (!take(text, '"')) return 0;
    const uint8_t *at = (const uint8_t *)text->at, *end = (const uint8_t *)text->end;
    while (at < end && *at != '"') {
        int more = 1;
        if (*at < 0x20 || *at == '\\' || *at == 0x7F) return 0;
        if (*at >= 0x80 && (more = wide_bytes(at, end)) == 0) return 0;
        at += more;
    }
    if (at == end) return 0;
    *start = text->at, *bytes = (const char *)at - text->at;
    text->at = (const char *)at + 1;
    return 1;
}

static int is_digit(const Text *text) {
    return text->at < text->end && *text->at >= '0' && *text->at <= '9';
}

static int take_number(Text *text, Number *number) {
    int digits = 0;
    *number = (Number){.is_negative = take(text, '-')};
    if (!is_digit(text)) return 0;
    int is_zero = *text->at == '0';
    for (; is_digit(text) && digits <= MOST_WHOLE_DIGITS; digits++)
        number->whole = number->whole * 10 + (*text->at++ - '0');
    if (digits > MOST_WHOLE_DIGITS || (is_zero && digits > 1)) return 0;
    if (take(text, '.')) {
        number->has_fraction = 1;
        if (!is_digit(text)) return 0;
        for (; is_digit(text); digits++) text->at++;
        if (digits > MOST_DIGITS) return 0;
    }
    return text->at == text->end || (*text->at != 'e' && *text->at != 'E');
}

static int skip_value(Text *text, int levels);

/* Members of an object, or items of an array, behind its first bracket. */
static int skip_members(Text *text, int levels, char last) {
    const char *start;
    Py_ssize_t bytes;
    skip_blanks(text);
    if (take(text, last)) return 1;
    do {
        skip_blanks(text);
        if (last == '}') {
            if (!take_text(text, &start, &bytes)) return 0;
            skip_blanks(text);
            if (!take(text, ':')) return 0;
        }
        if (!skip_value(text, levels)) return 0;
        skip_blanks(text);
    } while (take(text, ','));
    return take(text, last);
}

static int skip_value(Text *text, int levels) {
    const char *start;
    Py_ssize_t bytes;
    Number number;
    skip_blanks(text);
    if (text->at == text->end) return 0;
    switch (*text->at) {
        case '"': return take_text(text, &start, &bytes);
        case 't': return take_word(text, "true");
        case 'f': return take_word(text, "false");
        case 'n': return take_word(text, "null");
        case '{':
        case '[':
            if (levels == 0) return 0;
            text->at++;
            return skip_members(text, levels - 1, text->at[-1] == '{' ? '}' : ']');
        default: return take_number(text, &number);
    }
}

/* A text, or a whole number as its digits. */
static int take_id(Text *text, Span *span, const char *value, int takes_numbers) {
    const char *start = text->at;
    Py_ssize_t bytes = 0;
    Number number;
    if (take_word(text, "null")) {
        start = value;
    } else if (text->at < text->end && *text->at == '"') {
        if (!take_text(text, &start, &bytes)) return 0;
        if (bytes == 0 && !takes_numbers) return 0; /* not the same as none */
    } else {
        if (!takes_numbers || !take_number(text, &number) || number.has_fraction) return 0;
        if (number.is_negative && number.whole == 0) return 0;
        bytes = text->at - start;
    }
    *span = (Span){.start = (uint32_t)(start - value), .bytes = (uint32_t)bytes};
    return 1;
}

static int take_time(Text *text, const JsonForm *form, Parts *parts) {
    Number number;
    if (!take_number(text, &number) || number.has_fraction || number.is_negative) return 0;
    int64_t given = number.whole;
    if (given < 100000000000)
        given *= 1000;
    else if (given >= 100000000000000000)
        given /= 1000000;
    else if (given >= 100000000000000)
        given /= 1000;
    parts->at_ms = given;
    return given < form->latest_ms;
}

static int take_dwell(Text *text, const JsonForm *form, Parts *parts) {
    Number number;
    parts->dwell_ms = -1;
    if (take_word(text, "null")) return 1;
    if (!take_number(text, &number)) return 0;
    int64_t whole = number.is_negative ? 0 : number.whole;
    parts->dwell_ms = whole < form->dwell_limit_ms ? whole : form->dwell_limit_ms;
    return 1;
}

static int take_field(Text *text, const JsonForm *form, int field, const char *value,
                      Parts *parts) {
    Number number;
    Span ignored;
    switch (field) {
        case J_USER: return take_id(text, &parts->user, value, 1);
        case J_EVENT: return take_id(text, &parts->event, value, 1);
        case J_SESSION: return take_id(text, &parts->session, value, 1);
        case J_ITEM: return take_id(text, &parts->item, value, 1);
        case J_PROMOTION: return take_id(text, &parts->promotion, value, 1);
        case J_ACTION: return take_id(text, &parts->action, value, 0);
        case J_TIMESTAMP: return take_time(text, form, parts);
        case J_DWELL: return take_dwell(text, form, parts);
        case J_PRICE:
        case J_QUANTITY: return take_word(text, "null") || take_number(text, &number);
        case J_QUERY:
        case J_DEVICE:
        case J_IP: return take_id(text, &ignored, value, 0);
        default: return skip_value(text, MOST_LEVELS);
    }
}

/* The field of a name; JSON_FIELDS where it is none. */
static int field_of(const JsonForm *form, const char *name, Py_ssize_t bytes) {
    for (int field = 0; field < JSON_FIELDS; field++)
        if (form->name_bytes[field] == bytes &&
            memcmp(form->names[field], name, (size_t)bytes) == 0)
            return field;
    return JSON_FIELDS;
}

int find_parts(const JsonForm *form, const char *value, Py_ssize_t bytes, Parts *parts) {
    Text text = {value, value + bytes};
    *parts = (Parts){.at_ms = -1, .dwell_ms = -1};
    skip_blanks(&text);
    if (!take(&text, '{')) return 0;
    do {
        const char *name;
        Py_ssize_t name_bytes;
        skip_blanks(&text);
        if (!take_text(&text, &name, &name_bytes)) return 0;
        skip_blanks(&text);
        if (!take(&text, ':')) return 0;
        skip_blanks(&text);
        int field = field_of(form, name, name_bytes);
        if (!take_field(&text, form, field, value, parts)) return 0;
        skip_blanks(&text);
    } while (take(&text, ','));
    if (!take(&text, '}')) return 0;
    skip_blanks(&text);
    const Span *ids[] = {&parts->user, &parts->event, &parts->session, &parts->item};
    for (int n = 0; n < 4; n++)
        if (ids[n]->bytes > form->id_limit) return 0;
    return text.at == text.end && parts->at_ms >= 0 && parts->user.bytes > 0;
}
