"""Every number that steers the plan of a fit, each with its reason, in one record that is passed in."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Decay:
    """How wide students are kept small.

    Attributes
    ----------
    first : float
        Decay of students that begin at random ...
    steps : int
        ... and how many they take.
    again : tuple of float
        Range of the decays of students that begin at a network, even in the logarithm.
    """

    first: float
    steps: int
    again: tuple[float, float]


@dataclass(frozen=True)
class Walks:
    """How networks are left for those that their students lead to.

    Attributes
    ----------
    at_once : int
        Walks side by side at most.
    patience : int
        Steps in a row that lead no lower after which they are left.
    gain : float
        Ratio of losses above which a step leads no lower.
    """

    at_once: int
    patience: int
    gain: float


@dataclass(frozen=True)
class Policy:
    """Numbers that steer a fit; the defaults are those of :func:`fastrecover.fit`.

    They decide how much work is done where, not what a result means.  Rows "for each parameter" count parameters as
    :meth:`Network.n_parameters` does.
    """

    # Sub-samples.
    rows_per_parameter: int = 20
    """Rows of the first sub-sample for each parameter: a start from moments is then near enough to be refined."""
    rows_per_labelled_parameter: int = 250
    """The same where responses are labels, each of which says far less than a number."""
    fewest_rows: int = 2000
    """No sub-sample is smaller, since so few rows cost nothing."""
    fewest_rows_for_units: int = 4000
    """The same where numbers of units are compared, whose losses differ by little."""
    more_rows: int = 8
    """Factor by which a sub-sample grows that hardly determines its minimiser."""
    large: int = 1500
    """Parameters above which the first sub-sample has fewer rows for each, its verdict stands for that of all rows, and
    no matrix is formed of one."""
    rows_per_parameter_of_many: int = 5
    """Rows of the first sub-sample for each of more parameters than that ..."""
    rows_per_feature: int = 50
    """... and for each feature, within half of `rows_per_parameter`."""

    # Refinement.
    rows_in_span: int = 100
    """Rows for each parameter of a network in the span of its start, whose matrices are small ..."""
    fewest_rows_in_span: int = 10_000
    """... and the least of them: what lies outside the span is noise there."""
    unexplained: float = 0.1
    """Share of the variance of the responses above which the loss in the span leaves signs open."""
    starts_of_a_sign: int = 3
    """Random starts in the span for each number of positive signs."""
    near: float = 1e-2
    """Tolerance on a sub-sample, in its statistical errors: its minimiser is a stepping stone."""
    near_large: float = 0.1
    """The same for many parameters, whose losses are told apart by far less than their statistical errors."""
    near_labelled: float = 0.5
    """The same for labels, whose minima need not be told apart by their losses."""
    iterations: int = 200
    """Most steps of one stage."""
    lbfgs_iterations: int = 2000
    """Most steps of L-BFGS where it is the solver asked for."""
    kink_iterations: int = 1000
    """The same where a penalised minimum may lie at kinks, and nothing comes after it."""
    gd_iterations: int = 20_000
    """Most steps of gradient descent."""
    pncg_iterations: int = 600
    """Most steps of conjugate gradients for quadratic networks."""
    pncg_iterations_of_few: int = 100
    """The same from a spectral start where rows are scarce and matrices cheap: another start then costs less ..."""
    pncg_iterations_of_wide: int = 120
    """... and with rows added: a stepping stone, of which the leading eigenvalues are kept."""
    other_iterations: int = 1000
    """Most steps of a solver that a user hands in."""
    last_steps: int = 30
    """Steps after those with triangular factors, which have gone as far as they could."""
    kinked_steps: int = 100
    """Steps that know the kinks of the loss, for a fit that has stalled at them."""
    kinked_work: float = 1e8
    """Multiply-adds of one of these up to which they are taken."""
    dear_matrix: int = 100
    """Parameters above which a dense matrix costs as much as many gradients, so that few are formed in a row."""
    few_matrices: int = 8
    """Steps that are taken with such matrices before gradients are asked to go further."""
    fisher_steps: int = 60
    """Steps with Fisher's matrix, which where labels leave a direction open is far from the Hessian."""
    dear_work: float = 1e8
    """Multiply-adds of a dense matrix above which the curvature of Gaussian rows is tried first."""
    dear_work_of_labels: float = 5e9
    """The same for labels."""
    rows_to_average: int = 4
    """Rows for each parameter from which the curvature of Gaussian rows is near that of the rows at hand."""
    first_steps: int = 7
    """Steps after which that curvature is taken anew: the start has then been left behind."""
    steps_of_few: int = 40
    """Steps on a sub-sample after which a minimum that is still far away calls for more rows."""
    steps_of_many: int = 100
    """The same for more parameters than `large`, of which a step on so few rows costs little."""
    precondition_rows: int = 6
    """Least rows for each parameter of a matrix that preconditions the corrections on all rows."""
    contraction: float = 1.35
    """A matrix of m rows shortens the distance to the minimiser by about this times sqrt(p / m) a pass."""
    matrix_cost: float = 1 / 8
    """Cost of a row of a matrix of p parameters, relative to p rows of a gradient."""
    leg: int = 5
    """Steps between two looks at such a preconditioner."""
    legs: int = 40
    """Most of these."""
    slow: float = 0.02
    """A good preconditioner leaves less than this of the decrement after a leg."""

    # Acceptance.
    agree: float = 1e-4
    """Relative difference of losses up to which two minima count as one."""
    rows_to_trust: int = 10
    """Rows for each parameter from which a residual that looks like noise vouches for a fit."""
    rows_to_trust_of_many: int = 3
    """The same where there are more than `large`."""
    misfit_level: float = 1e-6
    """Chance of calling noise a misfit."""
    worth_a_note: float = 1e-3
    """The same where a note is all that follows."""
    judged_again: int = 4
    """Times the rows of the first sub-sample up to which the last verdict is of all rows."""
    suspicious: float = 1e-2
    """The same while searching further costs little."""
    close_second: float = 0.25
    """Relative distance from start to minimum up to which second moments vouch for it."""
    close_third: float = 1.0
    """The same for third moments, which are noisier, but whose odd units have no signs to get wrong."""
    little_of_a_unit: float = 0.1
    """Share of what one unit does to the responses below which no start of many parameters needs to be near."""
    parallel: float = 3.0
    """Condition number of unit rows above which wrong minima leave a residual that no test of few projections sees."""
    tiny: float = 0.2
    """Share of the typical length below which a unit may be what another left over by standing in for two."""
    cancelling_cosine: float = 0.95
    """Cosine above which two units are nearly parallel, a mark of units that cancel."""
    cancelling_size: float = 10.0
    """Multiple of the typical amplitude above which a unit is far larger than the others, the other mark, and of the
    responses' deviation above which weights run off."""
    long_step: float = 0.02
    """Newton step, relative to the weights, above which a likelihood has no maximum nearby."""
    saturated: float = 20.0
    """Length of a row above which a bounded unit is a step."""
    mostly_noise: float = 0.25
    """Share of the variance of the responses above which a loss explains less than half of it."""
    noisy: float = 1e-3
    """Share of that variance below which a loss may be what is left of a fit that is not finished."""

    # Search.
    search_passes: int = 20
    """A search that no few rows make hopeless may take so many times the passes of the first minimum."""
    least_passes: int = 400
    """Passes that it may take in any case: a round or two of wide students."""
    most_passes: int = 2000
    """Passes that it may not exceed where its first minimum was slow to be reached."""
    restarts: int = 8
    """Least number of random starts side by side."""
    restart_numbers: int = 1 << 15
    """Parameters of all of them together, within eight times that number of starts."""
    most_at_once: int = 256
    """Most of them where the best of a number is asked for."""
    restart_iterations: int = 400
    """Passes of one round of them."""
    finished: int = 2
    """How many of them are refined to the end."""
    small: int = 150
    """Parameters up to which the factor of a Jacobian is worth its cost."""
    firm: float = 1e-7
    """Least curvature of a penalty, where rows and responses are about 1, with which a matrix does for a factor."""
    small_work: float = 1e8
    """Multiply-adds of one factor up to which that holds."""
    small_work_of_many: float = 1e9
    """The same for all those of random starts together, in one pass."""
    newton_iterations: int = 150
    """Steps of such runs side by side."""
    best_of_many: int = 4
    """Best runs of these that go on, where the best of a number is asked for."""
    best_iterations: int = 600
    """Steps that these may take: the valleys of the lowest minima are narrow and long."""
    halved_after: int = 20
    """Steps after which the worse half of them is left, where the best of a number is asked for."""
    restart_rounds: int = 3
    """Rounds of random starts until two agree."""
    many_features: int = 1500
    """Entries of the start's tensor above which wide students cost less than its moments."""
    dear_moments: bool = True
    """Whether these are taken even so, where students have failed."""
    rows_to_expand: int = 6
    """Rows for each parameter that wide students see: on few of many rows the noise is fitted."""
    scarce: float = 2.5
    """Rows for each parameter below which only exact fits are told from wrong ones."""
    scarce_with_biases: float = 4.0
    """The same for units with biases, some of which few rows see at all."""
    more_units: int = 3
    """Units by which students grow in a round where they are many, or homogeneous with biases and eight or more."""
    expand_rounds: int = 12
    """Rounds of growing and pruning."""
    scarce_rounds: int = 80
    """The same where rows are scarce, unless walks have failed before."""
    flat_rounds: int = 3
    """Rounds without a gain after which the minima are refined and judged."""
    patient_rounds: int = 25
    """Rounds without a gain after which the search ends."""
    round_work: float = 5e10
    """Multiply-adds of a round's two hundred gradients, which bound the number of chains."""
    fewest_chains: int = 4
    """Chains there always are."""
    gain: float = 1e-3
    """Relative decrease of the loss that counts as one."""
    gain_of_noise: float = 0.1
    """The same in units of d / n where there is noise, some of which one more unit fits."""
    together: float = 2.0
    """Ratio of the two lowest losses of chains up to which their refinement to one minimum vouches for it."""
    thin_units: int = 16
    """Units from which students under decay come before growing and pruning, ..."""
    thin_rows: float = 3.2
    """... and rows for each parameter up to which they do: from four of them growing and pruning does as well, ..."""
    thin_rows_of_hard: float = 5.5
    """... but for smooth activations, of which it keeps units that are steps, or near none of the teacher's, ..."""
    thin_units_of_hard: int = 32
    """... and for so many units, which it brings late."""
    thin_units_of_most: int = 64
    """Units of which growing and pruning brings hardly any, ..."""
    thin_rows_of_most: float = 10.0
    """... and the rows for each of their parameters."""
    thin_units_of_few: int = 8
    """Units from which they do where rows are scarce or activations bounded ..."""
    fewest_thin_units: int = 4
    """... and where both holds, or rows are scarce and units of degree two, or features many for each unit, ..."""
    thin_features: int = 4
    """... as many as these: of fewer, growing and pruning brings more in the end."""
    thin_work: float = 4e13
    """Multiply-adds of a thousand gradients of a student up to which it is tried."""
    thin_share: float = 0.5
    """What all students may cost, over what growing and pruning costs at least where that fails too ..."""
    thin_gradients: float = 6.25e4
    """... and gradients of the model that each walk may take in any case, of two at least: a hundred steps or so."""
    thin_copies: int = 3
    """Width of students under decay, over the model's: copies of each unit of a network that one begins at."""
    thin_decay: Decay = Decay(first=1.5e-2, steps=300, again=(2e-3, 2e-2))
    """Their decay: under its first they leave about a hundredth of the variance of the responses."""
    thin_decay_of_few: Decay = Decay(first=1e-2, steps=150, again=(2e-3, 2e-2))
    """The same where rows are scarce, and first students hardly ever enough."""
    thin_decay_of_squares: Decay = Decay(first=2.5e-3, steps=150, again=(5e-4, 5e-3))
    """The same for units of degree two, whose decay is dearer."""
    thin_decay_of_bounded: Decay = Decay(first=4e-2, steps=600, again=(3e-3, 4e-2))
    """The same for bounded units, which a strong decay keeps from saturating while they turn."""
    thin_spread: tuple[float, ...] = (1.0, 1.6, 0.4)
    """Factors of the first decay in turn: long rows bear more, and few rows less."""
    thin_steps: int = 80
    """Steps of a student that begins at a network."""
    thin_away: float = 1.0
    """How far its units begin from those of the network, relative to their lengths."""
    thin_linear: float = 1.9
    """Rows for each parameter, those of a linear term counted, from which walks have one first; with fewer rows those
    after them do."""
    thin_least_linear: float = 1.1
    """Rows for each such parameter below which none does."""
    thin_widths: tuple[float, ...] = (2.0, 1.5, 1.25, 1.1, 1.0)
    """Widths that a student that began at random is merged to in turn, over the model's, ..."""
    thin_widths_again: tuple[float, ...] = (1.5, 1.0)
    """... and one that began at a network."""
    thin_between: int = 60
    """Steps between two mergers."""
    thin_iterations: int = 150
    """Most steps without decay at the end."""
    thin_close: float = 1e-5
    """Share of the variance below which the lowest of all networks so far takes further ones, ..."""
    thin_further: int = 400
    """... as many as these: badly conditioned ones are slow to become exact."""
    thin_heat: float = 0.2
    """How much higher, relative to the lowest of all, a walk goes on average where it leads no lower."""
    thin_walks: int = 6
    """Walks in all, side by side or in turn, where rows are not scarce: one of the first mostly does, or two agree."""
    thin_as: Walks = Walks(at_once=2, patience=2, gain=0.9)
    """As many walks side by side as may agree ..."""
    thin_as_of_few: Walks = Walks(at_once=8, patience=24, gain=0.99)
    """... or where rows are scarce, which tell no noise from misfit, as share what a pass costs beside its sums ..."""
    thin_small: float = 3e7
    """... unless the multiply-adds of one student in a pass are more than its share of these."""
    thin_near: float = 1e-7
    """Share of the variance at which a network is refined: gradients alone are slow on badly conditioned ones."""
    thin_refinements: int = 3
    """Refinements in a row until such a network is exact: valleys of badly conditioned ones are long."""
    thin_candidates: int = 8
    """Networks so refined, none of which is exact, after which others like them need not be looked at."""
    nearly_exact: float = 1e-10
    """Share of the variance at which chains end: Gauss-Newton is faster from there."""

    penalised_searches: int = 4
    """Searches under a penalty, in short and each of other random numbers, until one finds a minimum again: together
    they lead lower than a long one."""

    @property
    def in_short(self) -> Policy:
        """The same for a search that is one of several, or leads to what is only compared: a round of each strategy."""
        rounds = replace(self, expand_rounds=1, restart_rounds=1, thin_walks=1)
        return replace(rounds, search_passes=0, least_passes=0, dear_moments=False)

    def most_iterations(self, solver: str) -> int:
        """Most steps of a named solver that runs by itself."""
        own = {
            "gauss-newton": self.iterations,
            "lbfgs": self.lbfgs_iterations,
            "gd": self.gd_iterations,
            "sgd": 1 << 30,  # it ends by itself
            "pncg": self.pncg_iterations,
        }
        return own.get(solver, self.other_iterations)
