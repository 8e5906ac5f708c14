/* loop_text.h: the words of the loop text, shared by its printer and its parser. */
#ifndef LLMIR_SCHEDULE_LOOP_TEXT_H
#define LLMIR_SCHEDULE_LOOP_TEXT_H

#include "schedule/loop.h"

enum { LP_N_SCOPE = LP_WARPSH + 1 };
extern const char *const lp_how_text[LP_N_HOW];
extern const char *const lp_scope_text[LP_N_SCOPE];
extern const char *const lp_sync_text[LP_N_SCOPE]; /* NULL: no such barrier */
extern const char *const lp_mbar_text[4];          /* by lp_mbar_op         */

#endif
