"""Networks in torch become ONNX model folders: the encoders of this package, and what `finetune` trained.

Whoever imports a module from here has torch; the folders that come of it do without.
"""
