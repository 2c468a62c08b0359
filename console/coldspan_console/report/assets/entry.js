// What of Apache ECharts the report uses; assets/build.sh makes echarts.js of it.
import * as core from "echarts/core";
import { BarChart, CustomChart, ScatterChart } from "echarts/charts";
import { AriaComponent, BrushComponent, DataZoomInsideComponent, GridComponent, LegendPlainComponent, TooltipComponent } from "echarts/components";
import { CanvasRenderer } from "echarts/renderers";

core.use([
  BarChart, CustomChart, ScatterChart,
  AriaComponent, BrushComponent, DataZoomInsideComponent, GridComponent, LegendPlainComponent, TooltipComponent,
  CanvasRenderer,
]);
export const { init } = core;
