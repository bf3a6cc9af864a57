#!/usr/bin/env python3
"""llama-bench for ik_llama.cpp, as far as compare_speed.py needs it, by the package
ik-llama-cpp-python, which has no benchmark program. Run it by a Python that has that.

What is timed is what llama-bench times: calls of llama_decode, of at most 2048 tokens (in
steps of 512) for a prompt and of one token for an answer, each with the last token's
logits. Tokens are random, flash attention is on: both are llama-bench's ways. Matrices
are repacked on loading, as by its option -rtr: Q4_0 is a quarter faster in prefill.
"""
import random
import time

import ik_llama_cpp._ctypes_api as api
import peer_args

N_BATCH, N_UBATCH = 2048, 512


def batch_of(tokens, first):
    """A batch without a list of positions: they follow each other from `first` on."""
    batch = api.llama_batch()
    batch.n_tokens = len(tokens)
    batch.token = (api.llama_token * len(tokens))(*tokens)
    batch.all_pos_0, batch.all_pos_1, batch.all_seq_id = first, 1, 0
    return batch


def open_model(args):
    api.llama_backend_init()
    params = api.llama_model_default_params()
    params.repack_tensors, params.use_mmap = True, False
    model = api.llama_model_load_from_file(args.model.encode(), params)
    params = api.llama_context_default_params()
    params.n_ctx, params.n_batch, params.n_ubatch = args.n_ctx, N_BATCH, N_UBATCH
    params.n_threads = params.n_threads_batch = args.threads
    params.flash_attn = True
    context = model and api.llama_init_from_model(model, params)
    if not context:
        raise SystemExit(f"ik_llama.cpp cannot open {args.model}")
    n_vocab = api.llama_vocab_n_tokens(api.llama_model_get_vocab(model))

    def evaluate(first, n, n_batch):
        for at in range(first, first + n, n_batch):
            tokens = [random.randrange(n_vocab)
                      for _ in range(min(n_batch, first + n - at))]
            if api.llama_decode(context, batch_of(tokens, at)) != 0:
                raise SystemExit("llama_decode failed")

    def seconds(n_prompt, n_gen, n_depth):
        api.llama_kv_cache_clear(context)
        evaluate(0, n_depth, N_BATCH)
        start = time.perf_counter()
        evaluate(n_depth, n_prompt, N_BATCH)
        evaluate(n_depth + n_prompt, n_gen, 1)
        return time.perf_counter() - start

    return seconds


if __name__ == "__main__":
    peer_args.main("ik_llama.cpp", open_model)
