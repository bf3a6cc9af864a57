#!/usr/bin/env python3
"""llama-bench for OpenVINO GenAI, as far as compare_speed.py needs it. Run it by a Python
that has the package openvino-genai, which reads GGUF files of some architectures itself.

What is timed is what OpenVINO says of each inference: the prompt's, and each token's of
the answer; tokenising and sampling are apart, as in llama-bench. An answer without a
prompt cannot be asked for, so its first token stands for the first one of llama-bench.
Prompts behind a context are left out: there is no way to keep the context. The plugin
chooses how to compute, and keeps keys and values in 8 bits unless told otherwise.
"""
import numpy
import openvino
import openvino_genai
import peer_args


def open_model(args):
    pipeline = openvino_genai.LLMPipeline(args.model, "CPU",
                                          INFERENCE_NUM_THREADS=args.threads)
    n_vocab = len(pipeline.get_tokenizer().get_vocab())

    def durations(n_prompt, n_new):
        ids = numpy.random.randint(0, n_vocab, (1, n_prompt), dtype=numpy.int64)
        config = openvino_genai.GenerationConfig()
        config.max_new_tokens = config.min_new_tokens = n_new
        config.ignore_eos, config.do_sample = True, False
        inputs = openvino_genai.TokenizedInputs(
            openvino.Tensor(ids), openvino.Tensor(numpy.ones_like(ids)))
        done = pipeline.generate(inputs, config)
        times = done.perf_metrics.raw_metrics.token_infer_durations
        if len(times) != n_new:
            raise SystemExit(f"{len(times)} inferences for {n_new} tokens")
        return [t * 1e-6 for t in times]

    def seconds(n_prompt, n_gen, n_depth):
        if n_prompt and n_depth:
            return None
        if n_prompt:
            return durations(n_prompt, 1)[0]
        if n_depth:  # the first inference is the context's
            return sum(durations(n_depth, n_gen + 1)[1:])
        return sum(durations(1, n_gen))

    return seconds


if __name__ == "__main__":
    peer_args.main("OpenVINO GenAI", open_model)
