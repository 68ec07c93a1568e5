/* ranges.h - sets of code points as sorted, disjoint ranges; what a character class of a split rule
 * is made of. */
#ifndef SONDE_TEXT_RANGES_H
#define SONDE_TEXT_RANGES_H

#include "unicode.h"

/* Zero-initialise, free `list` with sonde_free. While `list` is being added to it may be unsorted;
 * `failed` (no memory) is sticky. */
typedef struct sonde_ranges {
    uint32_t (*list)[2]; /* first and last code point */
    size_t count, capacity;
    bool failed;
} sonde_ranges;

void sonde_ranges_add(sonde_ranges *set, uint32_t first, uint32_t last);
void sonde_ranges_add_all(sonde_ranges *set, const sonde_ranges *other);
/* Sorts and joins; every function below wants and leaves sets in this state. */
void sonde_ranges_sort(sonde_ranges *set);
void sonde_ranges_negate(sonde_ranges *set);
void sonde_ranges_intersect(sonde_ranges *set, const sonde_ranges *other);
bool sonde_ranges_has(const sonde_ranges *set, uint32_t code_point);
bool sonde_ranges_equal(const sonde_ranges *a, const sonde_ranges *b);
/* Adds the code points of a property that split rules name (case ignored): a general category ("L",
 * "Lu", "Nd"), "Han", "Space", "Digit", "Word"; or one of ours: "=numeric" (Rust's is_numeric),
 * "=word" (Rust's \w), "=punctuation" (of the Punctuation pre-tokenizer). false: no such name. */
bool sonde_ranges_add_property(sonde_ranges *set, const char *name, size_t bytes);
void sonde_ranges_reset(sonde_ranges *set);

#endif
