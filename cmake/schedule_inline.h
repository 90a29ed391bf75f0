/* Read before each source under the controlled scheduler: AmbitSchedule.cmake says what for.
 *
 * -finstrument-functions passes each function its own address, so that an inline function has to be
 * there by itself, even where all its calls are expanded. In C one that is neither static nor extern
 * is not, and the linker would say so. C++ makes one where it is needed. */
#pragma GCC system_header
#ifndef __cplusplus
#define inline inline __attribute__((__no_instrument_function__))
#endif
