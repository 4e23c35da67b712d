/* Cycles against the number of flows, as SVG: the table beside its peers, and the whole pipeline. */
#include <math.h>
#include <stdlib.h>

#include "bench/bench.h"

#define WIDTH        860
#define HEIGHT       380
#define PANEL_LEFT   56.0
#define PANEL_TOP    56.0
#define PANEL_WIDTH  250.0
#define PANEL_HEIGHT 260.0
#define PANEL_STEP   430.0
#define POINTS_MAX   16u
#define SERIES_MAX   4u
#define LABEL_HEIGHT 14.0

struct series {
    const char *label, *row; /* the row's name, its population as %s */
    bool is_peer;            /* the row's peer is drawn, else ours */
    const char *color;
};

struct panel {
    const char *title;
    struct series series[SERIES_MAX]; /* the last one is empty */
};

static const struct panel panels[] = {
    {"flow table: bulk look-up and account",
     {{"rte_hash", "table.lookup.%s.uniform.mix.rte_hash", true, "#c2571a"},
      {"ours", "table.lookup.%s.uniform.mix.rte_hash", false, "#1f5fa8"},
      {"floor", "table.lookup.%s.uniform.mix.floor", true, "#777777"},
      {.label = NULL}}},
    {"whole pipeline, 64 bytes, established flows",
     {{"with rte_hash", "pipeline.64B.%s.uniform.mix.rte_hash", true, "#c2571a"},
      {"ours", "pipeline.64B.%s.uniform.mix.rte_hash", false, "#1f5fa8"},
      {.label = NULL}}},
};

struct point {
    double flows, cycles;
};

static unsigned find_points(const struct bench *bench, const struct series *series, struct point points[])
{
    unsigned count = 0;
    for (size_t i = 0; i < bench->row_count && count < POINTS_MAX; i++) {
        const struct bench_row *row = &bench->rows[i];
        char name[sizeof row->name], flows[24];
        const char *before = strstr(series->row, "%s");
        bench_flows_name(row->flows, flows, sizeof flows);
        snprintf(name, sizeof name, "%.*s%s%s", (int)(before - series->row), series->row, flows, before + 2);
        if (strcmp(name, row->name) == 0)
            points[count++] =
                (struct point){(double)row->flows, bench_sample_median(series->is_peer ? &row->peer : &row->ours)};
    }
    return count;
}

/* 1, 2 or 5 times a power of ten, so that `top` is reached in about five steps. */
static double step_of(double top)
{
    double power = pow(10, floor(log10(top / 5)));
    double factor = top / 5 / power;
    return power * (factor > 5 ? 10 : factor > 2 ? 5 : factor > 1 ? 2 : 1);
}

struct scale {
    double left, x_min, x_max, y_max;
};

static double x_of(const struct scale *scale, double flows)
{
    return scale->left + (log10(flows) - scale->x_min) / (scale->x_max - scale->x_min) * PANEL_WIDTH;
}

static double y_of(const struct scale *scale, double cycles)
{
    return PANEL_TOP + PANEL_HEIGHT * (1 - cycles / scale->y_max);
}

static void draw_axes(const struct scale *scale, const char *title, FILE *out)
{
    fprintf(out, "<text x=\"%.1f\" y=\"36\" font-weight=\"bold\">%s</text>\n", scale->left, title);
    double step = step_of(scale->y_max);
    for (double cycles = 0; cycles <= scale->y_max; cycles += step)
        fprintf(out,
                "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"#dddddd\"/>"
                "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\" fill=\"#555555\">%.0f</text>\n",
                scale->left, y_of(scale, cycles), scale->left + PANEL_WIDTH, y_of(scale, cycles), scale->left - 6,
                y_of(scale, cycles) + 4, cycles);
    for (double flows = 1000; flows <= pow(10, scale->x_max) * 1.01; flows *= 10) {
        char text[24];
        bench_flows_name((uint64_t)(flows + 0.5), text, sizeof text);
        fprintf(out, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\" fill=\"#555555\">%s</text>\n",
                x_of(scale, flows), PANEL_TOP + PANEL_HEIGHT + 18, text);
    }
    fprintf(out, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\" fill=\"#555555\">flows</text>\n",
            scale->left + PANEL_WIDTH / 2, PANEL_TOP + PANEL_HEIGHT + 36);
}

static void draw_series(const struct scale *scale, const struct series *series, const struct point points[],
                        unsigned count, FILE *out)
{
    fprintf(out, "<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"2\" points=\"", series->color);
    for (unsigned i = 0; i < count; i++)
        fprintf(out, "%.1f,%.1f ", x_of(scale, points[i].flows), y_of(scale, points[i].cycles));
    fprintf(out, "\"/>\n");
    for (unsigned i = 0; i < count; i++)
        fprintf(out, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3\" fill=\"%s\"/>\n", x_of(scale, points[i].flows),
                y_of(scale, points[i].cycles), series->color);
}

/* At the ends of the lines, the highest first, moved down where they would overlap. */
static void draw_labels(const struct scale *scale, const struct series series[], const struct point last[],
                        const bool drawn[], unsigned count, FILE *out)
{
    bool done[SERIES_MAX] = {false};
    double free_y = 0;
    for (unsigned n = 0; n < count; n++) {
        unsigned best = SERIES_MAX;
        for (unsigned s = 0; s < count; s++)
            if (drawn[s] && !done[s] && (best == SERIES_MAX || last[s].cycles > last[best].cycles))
                best = s;
        if (best == SERIES_MAX)
            return;
        double y = fmax(y_of(scale, last[best].cycles) + 4, free_y);
        fprintf(out, "<text x=\"%.1f\" y=\"%.1f\" fill=\"%s\">%s %.0f</text>\n", x_of(scale, last[best].flows) + 8, y,
                series[best].color, series[best].label, last[best].cycles);
        free_y = y + LABEL_HEIGHT;
        done[best] = true;
    }
}

static void draw_panel(const struct bench *bench, const struct panel *panel, double left, FILE *out)
{
    struct point points[SERIES_MAX][POINTS_MAX], last[SERIES_MAX] = {{0}};
    unsigned counts[SERIES_MAX] = {0}, count = 0;
    bool drawn[SERIES_MAX] = {false};
    struct scale scale = {.left = left, .x_min = 3, .x_max = 4, .y_max = 10};
    for (; panel->series[count].label; count++) {
        unsigned found = counts[count] = find_points(bench, &panel->series[count], points[count]);
        for (unsigned i = 0; i < found; i++) {
            scale.x_max = fmax(scale.x_max, log10(points[count][i].flows));
            scale.x_min = fmin(scale.x_min, log10(points[count][i].flows));
            scale.y_max = fmax(scale.y_max, points[count][i].cycles * 1.08);
        }
        drawn[count] = found > 0;
        if (found)
            last[count] = points[count][found - 1];
    }
    draw_axes(&scale, panel->title, out);
    for (unsigned s = 0; s < count; s++)
        if (drawn[s])
            draw_series(&scale, &panel->series[s], points[s], counts[s], out);
    draw_labels(&scale, panel->series, last, drawn, count, out);
}

void bench_plot(const struct bench *bench, const char *path)
{
    FILE *out = fopen(path, "we");
    if (!out)
        bench_fail("%s cannot be written", path);
    fprintf(out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\" "
            "font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n",
            WIDTH, HEIGHT, WIDTH, HEIGHT);
    fprintf(out, "<text x=\"%.1f\" y=\"16\">TSC cycles an operation; uniform, every fourth flow IPv6; %s</text>\n",
            PANEL_LEFT, bench->machine);
    for (size_t i = 0; i < RTE_DIM(panels); i++)
        draw_panel(bench, &panels[i], PANEL_LEFT + (double)i * PANEL_STEP, out);
    fprintf(out, "</svg>\n");
    if (fclose(out))
        bench_fail("%s cannot be written", path);
}
