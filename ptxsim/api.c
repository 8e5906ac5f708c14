/* api.c: machines and modules: creation, limits of each generation, loading PTX, placing its
 * variables. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ptxsim/launch.h"

#define NONE ((ptx_pos){ 0, 0 })

/* The largest member of each generation in data centres or workstations. */
#define GENERATION(sm, sms, threads_sm, blocks_sm, optin, shared_sm, reserved, cluster) \
    { sm, sms, 32, 1024, threads_sm, blocks_sm, 65536, 65536, 48 << 10, (optin) << 10, \
      (shared_sm) << 10, reserved, { 2147483647u, 65535, 65535 }, { 1024, 1024, 64 }, cluster, 0 }
static const ptxsim_limits generations[] = {
    GENERATION(75, 40, 1024, 16, 64, 64, 0, 1),
    GENERATION(80, 108, 2048, 32, 163, 164, 1024, 1),
    GENERATION(86, 84, 1536, 16, 99, 100, 1024, 1),
    GENERATION(89, 128, 1536, 24, 99, 100, 1024, 1),
    GENERATION(90, 132, 2048, 32, 227, 228, 1024, 16),
};
#undef GENERATION

ptxsim_code ptxsim_create(const ptxsim_config *config, ptxsim **out, ptxsim_error *err)
{
    ptxsim_config c = config ? *config : (ptxsim_config){ 0 };
    if (err) *err = (ptxsim_error){ 0 };
    if (!out) return ptx_fail(err, PTXSIM_USAGE, NULL, NONE, "ptxsim_create: a NULL argument");
    *out = NULL;
    const ptxsim_limits *l = NULL;
    for (size_t i = 0; i < sizeof generations / sizeof *generations; i++)
        if (generations[i].sm == (c.sm ? c.sm : 80)) l = &generations[i];
    if (!l)
        return ptx_fail(err, PTXSIM_USAGE, NULL, NONE,
                        "sm_%u: this machine can be sm_75, 80, 86, 89 or 90", c.sm);
    ptxsim *m = calloc(1, sizeof *m);
    if (!m) return ptx_fail(err, PTXSIM_NO_MEMORY, NULL, NONE, "no host memory left");
    m->limits = *l;
    m->limits.memory_bytes = m->mem.total = c.memory_bytes ? c.memory_bytes : 16ull << 30;
    m->mem.next = PTX_GLOBAL_BASE;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    m->threads = c.threads ? c.threads : cores > 0 ? (unsigned)cores : 1;
    pthread_mutex_init(&m->lock, NULL);
    *out = m;
    return PTXSIM_OK;
}

void ptxsim_destroy(ptxsim *m)
{
    if (!m) return;
    while (m->modules) ptxsim_unload(m->modules);
    ptx_memory_finish(&m->mem);
    pthread_mutex_destroy(&m->lock);
    free(m);
}

void ptxsim_get_limits(const ptxsim *m, ptxsim_limits *out) { *out = m->limits; }

/* ---- variables ---- */

static ptx_var *find_var(ptx_module *mod, const char *name)
{
    for (uint32_t i = 0; i < mod->n_var; i++)
        if (mod->var[i]->space != PTX_SHARED && !strcmp(mod->var[i]->name, name))
            return mod->var[i];
    return NULL;
}

static ptxsim_code place_var(ptxsim *m, ptx_module *mod, ptx_var *v, ptxsim_error *err)
{
    ptx_alloc *a;
    ptxsim_code r = ptx_memory_new(&m->mem, v->size ? v->size : 1, v->align, &a, err);
    if (r) return r;
    v->addr = a->base;
    ptx_init_set(a, 0, v->size, true); /* without an initialiser: zero */
    return PTXSIM_OK;
}

static ptxsim_code fill_var(ptxsim *m, ptx_module *mod, ptx_var *v, ptxsim_error *err)
{
    ptx_alloc *a = ptx_memory_find(&m->mem, v->addr);
    for (ptx_init *in = v->init; in; in = in->next) {
        uint64_t value = in->value;
        if (in->symbol) {
            ptx_var *s = find_var(mod, in->symbol);
            if (!s)
                return ptx_fail(err, PTXSIM_UNSUPPORTED, mod->name, in->pos,
                                "%s: the initialiser %s is no variable of this module", v->name,
                                in->symbol);
            value += s->addr;
            if (in->mask_shift) value >>= in->mask_shift - 1;
        }
        memcpy(a->host + in->off, &value, in->size > 8 ? 8 : in->size);
    }
    return PTXSIM_OK;
}

static ptxsim_code place_vars(ptxsim *m, ptx_module *mod, ptxsim_error *err)
{
    for (uint32_t i = 0; i < mod->n_var; i++) {
        ptx_var *v = mod->var[i];
        ptxsim_code r =
            v->space == PTX_SHARED || v->external ? PTXSIM_OK : place_var(m, mod, v, err);
        if (r) return r;
    }
    for (uint32_t i = 0; i < mod->n_var; i++) {
        ptxsim_code r = mod->var[i]->init ? fill_var(m, mod, mod->var[i], err) : PTXSIM_OK;
        if (r) return r;
    }
    return PTXSIM_OK;
}

/* The variables of a module that goes away (or never came to be). */
static void forget_vars(ptxsim *m, ptx_module *mod)
{
    for (uint32_t i = 0; i < mod->n_var; i++) {
        ptx_var *v = mod->var[i];
        if (v->space == PTX_SHARED || v->external || !v->addr) continue;
        ptx_alloc *a = ptx_memory_find(&m->mem, v->addr);
        if (!a || a->base != v->addr || a->freed) continue;
        ptx_memory_drop(a);
        a->freed = true;
        m->mem.used -= a->size;
    }
}

/* ---- kernels ---- */

static uint32_t volume(const uint32_t n[3]) { return n[0] ? n[0] * n[1] * n[2] : 0; }

static ptxsim_code describe(ptxsim_module *mod, ptx_func *f, ptxsim_kernel *k, ptxsim_error *err)
{
    const ptx_code *c = f->code;
    ptxsim_param *p = ll_try_alloc(&mod->ast.arena, (f->n_param + 1) * sizeof *p);
    if (!p) return ptx_fail(err, PTXSIM_NO_MEMORY, NULL, NONE, "no host memory left");
    for (uint32_t i = 0; i < f->n_param; i++)
        p[i] = (ptxsim_param){ .name = f->param[i]->name,
                               .offset = (uint32_t)f->param[i]->addr,
                               .size = (uint32_t)f->param[i]->size,
                               .align = f->param[i]->align };
    *k = (ptxsim_kernel){ .mod = mod, .func = f, .code = f->code };
    k->info = (ptxsim_kernel_info){
        .name = f->name,
        .param = p,
        .n_param = f->n_param,
        .param_bytes = f->param_bytes,
        .static_shared = c->shared_static - c->shared_base,
        .local_bytes = c->local_bytes,
        .max_threads = volume(f->reqntid) ? volume(f->reqntid) : volume(f->maxntid),
        .min_blocks = f->min_blocks,
        .max_registers = f->max_registers,
        .instructions = c->n,
    };
    memcpy(k->info.reqntid, f->reqntid, sizeof f->reqntid);
    memcpy(k->info.reqcluster, f->reqcluster, sizeof f->reqcluster);
    return PTXSIM_OK;
}

static ptxsim_code decode_all(ptxsim *m, ptxsim_module *mod, ptxsim_error *err)
{
    for (uint32_t i = 0; i < mod->ast.n_func; i++)
        mod->n_kernel += mod->ast.func[i]->is_entry && mod->ast.func[i]->defined;
    if (!(mod->kernel = calloc(mod->n_kernel + 1, sizeof *mod->kernel)))
        return ptx_fail(err, PTXSIM_NO_MEMORY, NULL, NONE, "no host memory left");
    size_t k = 0;
    for (uint32_t i = 0; i < mod->ast.n_func; i++) {
        ptx_func *f = mod->ast.func[i];
        if (!f->is_entry || !f->defined) continue;
        ptxsim_code r = ptx_decode(m, &mod->ast, f, err);
        if (!r) r = describe(mod, f, &mod->kernel[k++], err);
        if (r) return r;
    }
    return PTXSIM_OK;
}

static void free_module(ptxsim_module *mod)
{
    ll_arena_finish(&mod->ast.arena);
    free(mod->kernel);
    free(mod);
}

ptxsim_code ptxsim_load(ptxsim *m, const char *text, size_t n, const char *name,
                        ptxsim_module **out, ptxsim_error *err)
{
    ptxsim_error own = { 0 };
    if (!err) err = &own;
    *err = own;
    if (!m || !text || !out)
        return ptx_fail(err, PTXSIM_USAGE, NULL, NONE, "ptxsim_load: a NULL argument");
    *out = NULL;
    ptxsim_module *mod = calloc(1, sizeof *mod);
    char *copy = NULL;
    if (!mod) return ptx_fail(err, PTXSIM_NO_MEMORY, NULL, NONE, "no host memory left");
    mod->m = m;
    ptxsim_code r = ptx_parse(&mod->ast, text, n, name, err);
    size_t len = strlen(mod->ast.name) + 1;
    if (!r && !(copy = ll_try_alloc(&mod->ast.arena, len)))
        r = ptx_fail(err, PTXSIM_NO_MEMORY, NULL, NONE, "no host memory left");
    if (copy) {
        memcpy(copy, mod->ast.name, len);
        mod->ast.name = copy;
    }
    if (!r && mod->ast.sm > m->limits.sm)
        r = ptx_fail(err, PTXSIM_BAD_PTX, mod->ast.name, (ptx_pos){ 1, 1 },
                     ".target sm_%u: this machine is sm_%u", mod->ast.sm, m->limits.sm);
    pthread_mutex_lock(&m->lock);
    if (!r) r = place_vars(m, &mod->ast, err);
    if (!r) r = decode_all(m, mod, err);
    if (!r) {
        mod->next = m->modules;
        m->modules = mod;
        *out = mod;
    } else {
        forget_vars(m, &mod->ast);
        free_module(mod);
    }
    pthread_mutex_unlock(&m->lock);
    return r;
}

void ptxsim_unload(ptxsim_module *mod)
{
    if (!mod) return;
    ptxsim *m = mod->m;
    pthread_mutex_lock(&m->lock);
    for (ptxsim_module **p = &m->modules; *p; p = &(*p)->next)
        if (*p == mod) {
            *p = mod->next;
            break;
        }
    forget_vars(m, &mod->ast);
    pthread_mutex_unlock(&m->lock);
    free_module(mod);
}

size_t ptxsim_kernel_count(const ptxsim_module *mod) { return mod ? mod->n_kernel : 0; }
const ptxsim_kernel *ptxsim_kernel_at(const ptxsim_module *mod, size_t i)
{
    return mod && i < mod->n_kernel ? &mod->kernel[i] : NULL;
}
const ptxsim_kernel_info *ptxsim_info(const ptxsim_kernel *k) { return k ? &k->info : NULL; }
const ptxsim_kernel *ptxsim_find(const ptxsim_module *mod, const char *name)
{
    for (size_t i = 0; mod && name && i < mod->n_kernel; i++)
        if (!strcmp(mod->kernel[i].info.name, name)) return &mod->kernel[i];
    return NULL;
}

ptxsim_code ptxsim_symbol(const ptxsim_module *mod, const char *name, uint64_t *addr,
                          uint64_t *size, ptxsim_error *err)
{
    for (uint32_t i = 0; mod && name && i < mod->ast.n_var; i++) {
        const ptx_var *v = mod->ast.var[i];
        if (v->space == PTX_SHARED || v->external || strcmp(v->name, name)) continue;
        if (addr) *addr = v->addr;
        if (size) *size = v->size;
        return PTXSIM_OK;
    }
    return ptx_fail(err, PTXSIM_USAGE, NULL, NONE, "%s: no such variable", name ? name : "(null)");
}
