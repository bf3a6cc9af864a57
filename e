cpu: avx512, 2 threads, oneDNN 2.6.3

[ Prompt: 48.9 t/s | Generation: 6.1 t/s ]
  37 prompt tokens in 0.76 s, 8 generated in 1.31 s, model loaded in 0.03 s
