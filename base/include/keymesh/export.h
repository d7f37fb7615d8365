/**
 * @file keymesh/export.h
 * Symbol visibility, result checking and C++ linkage for every public header.
 */
#ifndef KEYMESH_EXPORT_H
#define KEYMESH_EXPORT_H

#if defined(__GNUC__) || defined(__clang__)
#define KM_EXPORT __attribute__((visibility("default")))
#define KM_NODISCARD __attribute__((warn_unused_result))
#define KM_PRINTF(fmt_index, arg_index) __attribute__((format(printf, fmt_index, arg_index)))
#else
#define KM_EXPORT
#define KM_NODISCARD
#define KM_PRINTF(fmt_index, arg_index)
#endif

#ifdef __cplusplus
#define KM_BEGIN_DECLS extern "C" {
#define KM_END_DECLS }
#else
#define KM_BEGIN_DECLS
#define KM_END_DECLS
#endif

#endif /* KEYMESH_EXPORT_H */
