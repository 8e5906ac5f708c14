/* generate.c: continues a text with a compiled model.
 *
 *     cc generate.c -o generate -lllmir
 *     ./generate model.so "Once upon a time" [TOKENS]
 */
#include <llmir/llmir.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int on_token(void *user, int32_t id, const char *text, size_t n)
{
    (void)user, (void)id;
    fwrite(text, 1, n, stdout);
    return fflush(stdout);
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "usage: generate MODULE.so TEXT [TOKENS]\n");
        return 2;
    }
    const char *prompt = argv[2];
    llmir_model *model = NULL;
    llmir_engine *engine = NULL;
    llmir_session *session = NULL;
    llmir_error err;
    llmir_generate_params params = {.size = sizeof params,
                                    .max_tokens = argc > 3 ? strtoul(argv[3], NULL, 10) : 64,
                                    .text_flags = LLMIR_TEXT_ADD_SPECIAL | LLMIR_TEXT_PARSE_SPECIAL,
                                    .on_token = on_token};
    llmir_generate_result result = {.size = sizeof result};

    int rc = llmir_open(argv[1], NULL, &model, &err);
    if (rc == LLMIR_OK) rc = llmir_engine_create(model, NULL, &engine, &err);
    if (rc == LLMIR_OK) rc = llmir_session_create(engine, &session, &err);
    if (rc == LLMIR_OK) {
        printf("%s", prompt);
        rc = llmir_generate(session, prompt, strlen(prompt), &params, &result, &err);
        printf("\n");
    }
    if (rc != LLMIR_OK)
        fprintf(stderr, "generate: %s\n", err.msg);
    else
        fprintf(stderr, "%u prompt tokens in %.3f s, %u tokens in %.3f s (%.0f per second)\n",
                result.n_prompt, result.prefill_seconds, result.n_generated, result.decode_seconds,
                result.decode_seconds > 0 ? result.n_generated / result.decode_seconds : 0.0);

    llmir_session_destroy(session);
    llmir_engine_destroy(engine);
    llmir_close(model);
    return rc;
}
