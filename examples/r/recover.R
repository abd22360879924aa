# Recovers relu units from R: losses and gradients by fastrecover's C library, minimised by optim.
#
# Build the glue, then run this file beside it:
#     PKG_CFLAGS="$(fastrecover-config --cflags)" PKG_LIBS="$(fastrecover-config --libs)" R CMD SHLIB glue.c
#     Rscript recover.R
dyn.load(paste0("glue", .Platform$dynlib.ext))

set.seed(1)
n <- 5000; d <- 5; k <- 2
X <- matrix(rnorm(n * d), n, d)
W <- matrix(rnorm(k * d), k, d)
a <- c(0.3, -0.2); v <- c(1.0, -0.7); c0 <- 0.5
y <- as.vector(pmax(X %*% t(W) + rep(a, each = n), 0) %*% v + c0)

tX <- t(X)
loss <- function(theta) .Call("relu_loss", tX, y, theta, k)
truth <- c(as.vector(t(W)), a, v, c0)
start <- truth + 0.3 * rnorm(length(truth))
found <- optim(start, function(p) loss(p)[1], function(p) loss(p)[-1], method = "BFGS",
               control = list(maxit = 500, reltol = 1e-15))
cat(sprintf("loss at the truth %.1e, at the start %.1e, found %.1e\n", loss(truth)[1], loss(start)[1], found$value))

# The gradient against differences.
h <- 1e-6
slope <- sapply(seq_along(start), function(i) {
  e <- replace(numeric(length(start)), i, h)
  (loss(start + e)[1] - loss(start - e)[1]) / (2 * h)
})
cat(sprintf("gradient off by %.1e\n", max(abs(slope - loss(start)[-1]))))
