// Regions: how the prompt divides the image, or masks that are painted, each with a text of its own.
import { REGIONS, setWay, way, WAYS, type Way } from "../regions";
import { faults } from "../state";
import { RegionBoxes } from "./RegionBoxes";
import { RegionMasks } from "./RegionMasks";
import { Segments } from "./Segments";
import "./regions.css";

export function Regions() {
  const fault = faults.value[REGIONS];
  return (
    <div class="regions" data-way={way.value}>
      <Segments label="Regions" id="regions-way" choices={WAYS} value={way.value} give={(id) => setWay(id as Way)} />
      {fault && <p class="fault" id={`field-${REGIONS}`} role="alert" tabIndex={-1}>{fault}</p>}
      {way.value === "masks" ? <RegionMasks /> : <RegionBoxes />}
    </div>
  );
}
