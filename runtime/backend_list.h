/* backend_list.h -- every backend, once, best first: X(name). A build may lack some. */
#ifndef ERNE_BACKEND_LIST_H
#define ERNE_BACKEND_LIST_H

#ifdef ERNE_HAVE_CPU
#define ERNE_BACKEND_CPU(X) X(cpu)
#else
#define ERNE_BACKEND_CPU(X)
#endif

#ifdef ERNE_HAVE_VULKAN
#define ERNE_BACKEND_VULKAN(X) X(vulkan)
#else
#define ERNE_BACKEND_VULKAN(X)
#endif

#ifdef ERNE_HAVE_OPENCL
#define ERNE_BACKEND_OPENCL(X) X(opencl)
#else
#define ERNE_BACKEND_OPENCL(X)
#endif

#define ERNE_BACKEND_LIST(X) \
    ERNE_BACKEND_CPU(X)      \
    ERNE_BACKEND_VULKAN(X)   \
    ERNE_BACKEND_OPENCL(X)   \
    X(reference)

#endif
