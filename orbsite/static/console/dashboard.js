// Draws the charts of the dashboard from the data in the page. Without this script, the tables show the same data.
"use strict";

(() => {
  const charts = JSON.parse(document.getElementById("orb-charts").textContent);
  const shapes = ["circle", "rectRot", "triangle", "rect", "star", "cross"];
  const dashes = [[], [6, 3], [2, 3], [8, 3, 2, 3], [4, 4], [1, 2]];
  const day = new Intl.DateTimeFormat("en", { day: "numeric", month: "short", timeZone: "UTC" });
  const number = new Intl.NumberFormat("en");
  let drawn = [];

  function theme() {
    const styles = getComputedStyle(document.documentElement);
    return (name) => styles.getPropertyValue(name).trim();
  }

  // Stripes mark warnings, so that colour is not their only sign.
  function striped(colour, ground) {
    const tile = document.createElement("canvas");
    tile.width = tile.height = 8;
    const context = tile.getContext("2d");
    context.fillStyle = colour;
    context.fillRect(0, 0, 8, 8);
    context.strokeStyle = ground;
    context.lineWidth = 1.5;
    for (const at of [-8, 0, 8]) {
      context.beginPath();
      context.moveTo(at, 8);
      context.lineTo(at + 8, 0);
      context.stroke();
    }
    return context.createPattern(tile, "repeat");
  }

  function spelled(value, unit) {
    if (unit === "bytes") {
      const sizes = ["bytes", "KB", "MB", "GB", "TB"];
      const power = Math.min(sizes.length - 1, Math.floor(Math.log(Math.max(value, 1)) / Math.log(1024)));
      return `${number.format(Number((value / 1024 ** power).toPrecision(3)))} ${sizes[power]}`;
    }
    return unit === "seconds" ? `${number.format(value)} s` : number.format(value);
  }

  function dataset(chart, series, at, read) {
    const plain = series.is_warning ? read("--orb-warning") : series.is_rest ? read("--orb-rest") : read(`--orb-${(at % 5) + 1}`);
    const ground = read("--body-bg");
    const isStriped = series.is_warning || (series.is_rest && chart.series.findIndex((one) => one.is_rest) < at);
    const common = { label: series.name, data: series.values };
    if (chart.kind === "line") {
      return {
        ...common,
        borderColor: plain,
        backgroundColor: plain,
        borderWidth: 2,
        borderDash: dashes[at % dashes.length],
        pointStyle: shapes[at % shapes.length],
        pointRadius: series.values.length > 45 ? 2 : 4,
        spanGaps: true,
      };
    }
    return {
      ...common,
      backgroundColor: isStriped ? striped(plain, ground) : plain,
      borderColor: ground,
      borderWidth: chart.is_stacked ? 1 : 0,
      borderRadius: 2,
      maxBarThickness: 36,
      grouped: chart.unit !== "seconds",
    };
  }

  function axes(chart, read) {
    const quiet = read("--body-quiet-color");
    const grid = { color: read("--hairline-color") };
    const all = chart.series.flatMap((one) => one.values).filter((value) => value > 0);
    const isLogarithmic = chart.unit === "seconds" && Math.max(...all) > 50 * Math.min(...all);
    const isDated = /^\d{4}-\d\d-\d\d$/.test(chart.labels[0] || "");
    // Ticks for bytes are powers of two; a logarithmic axis only shows powers of ten.
    const step = chart.unit === "bytes" && all.length ? 2 ** Math.ceil(Math.log2(Math.max(...all) / 5)) : undefined;
    const isShown = (value) => !isLogarithmic || Number.isInteger(Math.round(Math.log10(value) * 1e6) / 1e6);
    const names = {
      stacked: chart.is_stacked && chart.unit !== "seconds",
      grid: { display: false },
      border: { color: read("--border-color") },
      title: { display: !isDated && !chart.is_flat && chart.unit !== "seconds", text: chart.axis, color: quiet },
      ticks: {
        color: quiet,
        maxRotation: chart.unit === "seconds" ? 60 : 0,
        autoSkip: !chart.is_flat,
        autoSkipPadding: 12,
        callback(value) {
          const label = this.getLabelForValue(value);
          if (isDated) return day.format(new Date(`${label}T00:00:00Z`));
          return label.length > 24 ? `${label.slice(0, 23)}…` : label;
        },
      },
    };
    const values = {
      type: isLogarithmic ? "logarithmic" : "linear",
      stacked: names.stacked,
      beginAtZero: true,
      grid,
      border: { display: false },
      ticks: {
        color: quiet,
        stepSize: step,
        maxTicksLimit: isLogarithmic ? undefined : 7,
        precision: chart.unit === "seconds" ? undefined : 0,
        callback: (value) => (isShown(value) ? spelled(value, chart.unit) : null),
      },
    };
    return chart.is_flat ? { x: values, y: names } : { x: names, y: values };
  }

  function draw() {
    drawn.forEach((one) => one.destroy());
    const read = theme();
    Chart.defaults.font.family = getComputedStyle(document.body).fontFamily;
    Chart.defaults.font.size = 12;
    drawn = charts.map((chart) => {
      const canvas = document.querySelector(`[data-chart="${CSS.escape(chart.name)}"] canvas`);
      return new Chart(canvas, {
        type: chart.kind,
        data: { labels: chart.labels, datasets: chart.series.map((one, at) => dataset(chart, one, at, read)) },
        options: {
          animation: false,
          maintainAspectRatio: false,
          indexAxis: chart.is_flat ? "y" : "x",
          interaction: { mode: "index", intersect: false, axis: chart.is_flat ? "y" : "x" },
          scales: axes(chart, read),
          plugins: {
            legend: {
              display: chart.series.length > 1,
              position: "bottom",
              labels: { color: read("--body-fg"), usePointStyle: chart.kind === "line", boxWidth: chart.kind === "line" ? 7 : 14, boxHeight: chart.kind === "line" ? 7 : 10 },
            },
            tooltip: {
              filter: (item) => item.raw !== null && (item.raw !== 0 || !chart.is_stacked),
              callbacks: { label: (item) => `${item.dataset.label}: ${spelled(item.raw, chart.unit)}` },
            },
          },
        },
      });
    });
  }

  for (const chart of charts) {
    const figure = document.querySelector(`[data-chart="${CSS.escape(chart.name)}"]`);
    const holder = figure.querySelector(".orb-canvas");
    const canvas = document.createElement("canvas");
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `${figure.querySelector("h3").textContent}. ${figure.querySelector("figcaption p").textContent.replace(/\s+/g, " ").trim()}`);
    if (chart.is_flat) holder.style.minHeight = `${60 + chart.labels.length * (chart.series.length > 1 ? 34 : 26)}px`;
    holder.append(canvas);
    holder.hidden = false;
  }
  draw();
  new MutationObserver(draw).observe(document.documentElement, { attributeFilter: ["data-theme"] });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
})();
