/* Records of XLA's foreign function interface (its major version 0), as far as xla.c reads or fills them: their fields
   in order, under names of our own. */
#ifndef FR_XLA_H
#define FR_XLA_H

#include <stddef.h>
#include <stdint.h>

enum { FR_XLA_METADATA = 1 }; /* extensions */
enum { FR_XLA_EXECUTE = 3 };  /* stages */
enum { FR_XLA_ARRAY = 1 };    /* attributes */
enum { FR_XLA_INVALID = 3, FR_XLA_EXHAUSTED = 8 }; /* errors */
enum { FR_XLA_F32 = 11, FR_XLA_F64 = 12 };

typedef struct fr_xla_error fr_xla_error;

typedef struct fr_xla_extension {
    size_t bytes;
    int type;
    struct fr_xla_extension *next;
} fr_xla_extension;

typedef struct {
    size_t bytes;
    fr_xla_extension *extension;
    int major, minor;
} fr_xla_version;

typedef struct {
    size_t bytes;
    fr_xla_extension *extension;
    const char *message;
    int code;
} fr_xla_error_args;

typedef struct {
    size_t bytes;
    fr_xla_extension *extension;
    fr_xla_version version;
    const void *internal;
    fr_xla_error *(*make_error)(fr_xla_error_args *args);
} fr_xla_api;

typedef struct {
    size_t bytes;
    fr_xla_version version;
    uint32_t traits;
} fr_xla_metadata;

typedef struct {
    fr_xla_extension base;
    fr_xla_metadata *metadata;
} fr_xla_metadata_extension;

typedef struct {
    size_t bytes;
    fr_xla_extension *extension;
    int type;
    void *data;
    int64_t rank;
    int64_t *sizes;
} fr_xla_buffer;

typedef struct {
    int type;
    size_t size;
    void *data;
} fr_xla_array;

typedef struct {
    size_t bytes;
    fr_xla_extension *extension;
    int64_t count;
    int *types;
    void **values;
} fr_xla_values;

typedef struct {
    size_t bytes;
    fr_xla_extension *extension;
    int64_t count;
    int *types;
    void **names;
    void **values;
} fr_xla_named_values;

typedef struct {
    size_t bytes;
    fr_xla_extension *extension;
    const fr_xla_api *api;
    void *context;
    int stage;
    fr_xla_values arguments, results;
    fr_xla_named_values attributes;
} fr_xla_frame;

#endif
