// What we call of TensorFlow's C API, declared from its documentation. Nothing of TensorFlow is needed to
// build this: the functions are looked up by name in the library that the process has already loaded.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace vradam::tensorflow {

// TensorFlow's own types, of which we see addresses only.
struct OpDefinitionBuilder;
struct KernelBuilder;
struct KernelConstruction;
struct KernelContext;
struct ShapeInference;
struct Status;
struct Tensor;

// Of TensorFlow's enumerations, the values in use; they are part of its stable interface.
enum DataType : int { kFloat = 1, kInt32 = 3 };
enum StatusCode : int { kOk = 0, kFailedPrecondition = 9 };

// Every function in use, its name, what it returns and takes.
#define VRADAM_TENSORFLOW_FUNCTIONS(F)                                                                 \
  F(TF_NewStatus, Status*, ())                                                                         \
  F(TF_DeleteStatus, void, (Status*))                                                                  \
  F(TF_SetStatus, void, (Status*, StatusCode, const char* message))                                    \
  F(TF_GetCode, StatusCode, (const Status*))                                                           \
  F(TF_Message, const char*, (const Status*))                                                          \
  F(TF_NewOpDefinitionBuilder, OpDefinitionBuilder*, (const char* op))                                 \
  F(TF_OpDefinitionBuilderAddAttr, void, (OpDefinitionBuilder*, const char* spec))                     \
  F(TF_OpDefinitionBuilderAddInput, void, (OpDefinitionBuilder*, const char* spec))                    \
  F(TF_OpDefinitionBuilderAddOutput, void, (OpDefinitionBuilder*, const char* spec))                   \
  F(TF_OpDefinitionBuilderSetIsStateful, void, (OpDefinitionBuilder*, bool))                           \
  F(TF_OpDefinitionBuilderSetShapeInferenceFunction, void,                                             \
    (OpDefinitionBuilder*, void (*infer)(ShapeInference*, Status*)))                                   \
  F(TF_ShapeInferenceContextSetUnknownShape, void, (ShapeInference*, Status*))                         \
  F(TF_RegisterOpDefinition, void, (OpDefinitionBuilder*, Status*))                                    \
  F(TF_NewKernelBuilder, KernelBuilder*,                                                               \
    (const char* op, const char* device, void* (*create)(KernelConstruction*),                         \
     void (*compute)(void* kernel, KernelContext*), void (*destroy)(void* kernel)))                    \
  F(TF_KernelBuilder_HostMemory, void, (KernelBuilder*, const char* argument))                         \
  F(TF_RegisterKernelBuilder, void, (const char* kernel, KernelBuilder*, Status*))                     \
  F(TF_NumInputs, int, (KernelContext*))                                                               \
  F(TF_GetInput, void, (KernelContext*, int index, Tensor**, Status*))                                 \
  F(TF_AllocateOutput, Tensor*,                                                                        \
    (KernelContext*, int index, DataType, const std::int64_t* dimensions, int rank, std::size_t bytes, \
     Status*))                                                                                         \
  F(TF_OpKernelContext_Failure, void, (KernelContext*, Status*))                                       \
  F(TF_TensorType, DataType, (const Tensor*))                                                          \
  F(TF_NumDims, int, (const Tensor*))                                                                  \
  F(TF_Dim, std::int64_t, (const Tensor*, int axis))                                                   \
  F(TF_TensorByteSize, std::size_t, (const Tensor*))                                                   \
  F(TF_TensorData, void*, (const Tensor*))                                                             \
  F(TF_DeleteTensor, void, (Tensor*))

struct Api {
#define VRADAM_DECLARE(name, result, parameters) result(*name) parameters = nullptr;
  VRADAM_TENSORFLOW_FUNCTIONS(VRADAM_DECLARE)
#undef VRADAM_DECLARE
};

}  // namespace vradam::tensorflow
